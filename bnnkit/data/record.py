"""What is known about each dataset before a byte of it was read: classes, counts, hashes, where to get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bnnkit.registry import Registry


@dataclass(frozen=True)
class Record:
    """A published dataset.

    `shape` is (channels, height, width) and `counts` (train, test). `mean` and `std`, per channel for images scaled
    to 0..1, are given where the literature fixed them and computed from the training images where None. `md5` maps
    the plain name of a file (unpacked, for gzipped ones) to its published hash; `urls` lists, for each file needed,
    the addresses to try. `balanced`: every class has the same number of images.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    counts: tuple[int, int]
    description: str
    note: str = ""
    balanced: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    md5: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[tuple[str, ...], ...] = ()


DATASETS: Registry[Record] = Registry("dataset")
"""The datasets known by name; `prepare` also accepts any other name for a folder of images."""

EMBEDDED = "digits"
"""The one dataset that ships inside the package."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_DIGITS = tuple("0123456789")
_MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_MNIST_SITES = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_CIFAR_SITE = "https://www.cs.toronto.edu/~kriz/"

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_CIFAR100_NAMES.split())

DATASETS.register("digits")(
    Record(
        name="digits",
        classes=_DIGITS,
        shape=(1, 8, 8),
        counts=(1437, 360),
        description="handwritten digits, 8x8 grey, shipped in the package",
        note="test set of the UCI optical digits as in scikit-learn, split 1437/360 here: not comparable with MNIST",
    )
)
DATASETS.register("mnist")(
    Record(
        name="mnist",
        classes=_DIGITS,
        shape=(1, 28, 28),
        counts=(60000, 10000),
        description="handwritten digits, 28x28 grey",
        mean=(0.1307,),
        std=(0.3081,),
        md5={
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
        urls=tuple(tuple(f"{site}{file}.gz" for site in _MNIST_SITES) for file in _MNIST_FILES),
    )
)
DATASETS.register("cifar10")(
    Record(
        name="cifar10",
        classes=CIFAR10_CLASSES,
        shape=(3, 32, 32),
        counts=(50000, 10000),
        description="photographs of 10 kinds of things, 32x32 colour",
        balanced=True,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        md5={
            "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
            "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
        urls=((_CIFAR_SITE + "cifar-10-python.tar.gz",),),
    )
)
DATASETS.register("cifar100")(
    Record(
        name="cifar100",
        classes=CIFAR100_CLASSES,
        shape=(3, 32, 32),
        counts=(50000, 10000),
        description="photographs of 100 kinds of things, 32x32 colour",
        balanced=True,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        md5={
            "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
            "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        },
        urls=((_CIFAR_SITE + "cifar-100-python.tar.gz",),),
    )
)

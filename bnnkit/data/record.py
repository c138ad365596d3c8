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
    the addresses to try. `balanced`: every class has the same number of images. `train_subsets`: fewer training images
    than counted are accepted too, and told in the note. `jpeg`: the published images are JPEG files themselves.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    counts: tuple[int, int]
    description: str
    note: str = ""
    balanced: bool = False
    train_subsets: bool = False
    jpeg: bool = False
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
_TINY_IMAGENET_WNIDS = """
    n01443537 n01629819 n01641577 n01644900 n01698640 n01742172 n01768244 n01770393 n01774384 n01774750
    n01784675 n01855672 n01882714 n01910747 n01917289 n01944390 n01945685 n01950731 n01983481 n01984695
    n02002724 n02056570 n02058221 n02074367 n02085620 n02094433 n02099601 n02099712 n02106662 n02113799
    n02123045 n02123394 n02124075 n02125311 n02129165 n02132136 n02165456 n02190166 n02206856 n02226429
    n02231487 n02233338 n02236044 n02268443 n02279972 n02281406 n02321529 n02364673 n02395406 n02403003
    n02410509 n02415577 n02423022 n02437312 n02480495 n02481823 n02486410 n02504458 n02509815 n02666196
    n02669723 n02699494 n02730930 n02769748 n02788148 n02791270 n02793495 n02795169 n02802426 n02808440
    n02814533 n02814860 n02815834 n02823428 n02837789 n02841315 n02843684 n02883205 n02892201 n02906734
    n02909870 n02917067 n02927161 n02948072 n02950826 n02963159 n02977058 n02988304 n02999410 n03014705
    n03026506 n03042490 n03085013 n03089624 n03100240 n03126707 n03160309 n03179701 n03201208 n03250847
    n03255030 n03355925 n03388043 n03393912 n03400231 n03404251 n03424325 n03444034 n03447447 n03544143
    n03584254 n03599486 n03617480 n03637318 n03649909 n03662601 n03670208 n03706229 n03733131 n03763968
    n03770439 n03796401 n03804744 n03814639 n03837869 n03838899 n03854065 n03891332 n03902125 n03930313
    n03937543 n03970156 n03976657 n03977966 n03980874 n03983396 n03992509 n04008634 n04023962 n04067472
    n04070727 n04074963 n04099969 n04118538 n04133789 n04146614 n04149813 n04179913 n04251144 n04254777
    n04259630 n04265275 n04275548 n04285008 n04311004 n04328186 n04356056 n04366367 n04371430 n04376876
    n04398044 n04399382 n04417672 n04456115 n04465501 n04486054 n04487081 n04501370 n04507155 n04532106
    n04532670 n04540053 n04560804 n04562935 n04596742 n04597913 n06596364 n07579787 n07583066 n07614500
    n07615774 n07695742 n07711569 n07715103 n07720875 n07734744 n07747607 n07749582 n07753592 n07768694
    n07871810 n07873807 n07875152 n07920052 n09193705 n09246464 n09256479 n09332890 n09428293 n12267677
"""
TINY_IMAGENET_CLASSES = tuple(_TINY_IMAGENET_WNIDS.split())

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
DATASETS.register("tiny-imagenet")(
    Record(
        name="tiny-imagenet",
        classes=TINY_IMAGENET_CLASSES,
        shape=(3, 64, 64),
        counts=(100000, 10000),
        description="photographs of 200 kinds of things, 64x64 colour",
        note="the test split is the official validation set (test labels are unpublished)",
        balanced=True,
        train_subsets=True,
        jpeg=True,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        md5={"tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de"},
        urls=(
            ("https://cs231n.stanford.edu/tiny-imagenet-200.zip", "http://cs231n.stanford.edu/tiny-imagenet-200.zip"),
        ),
    )
)

"""Which inputs of a layer share an array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from bnnkit.errors import UsageError

Mapping: TypeAlias = Literal["channel", "tap"]


@dataclass(frozen=True)
class Layout:
    """One group's reduction of `channels * kernel_h * kernel_w` products, cut into arrays.

    Attributes:
        channels: input channels of one group.
        kernel_h, kernel_w: kernel size; 1, 1 for a linear layer.
        rows: word lines of one array.
        channels_per_array: input channels of a full array (the last of a chunk series may hold fewer).
        chunks: pieces the input channels are cut into.
        arrays: arrays of one group; array s holds chunk s ("channel") or, with tap = s // chunks in row-major
            order, chunk s % chunks of that tap ("tap").
        tap: mapping "tap" (one kernel tap per array) instead of "channel" (all taps of some channels).
    """

    channels: int
    kernel_h: int
    kernel_w: int
    rows: int
    channels_per_array: int
    tap: bool

    @property
    def chunks(self) -> int:
        return -(-self.channels // self.channels_per_array)

    @property
    def arrays(self) -> int:
        return self.chunks * (self.kernel_h * self.kernel_w if self.tap else 1)

    def channels_of(self, s: int) -> range:
        """Return the input channels on array `s`."""
        start = (s % self.chunks) * self.channels_per_array
        return range(start, min(start + self.channels_per_array, self.channels))

    def rows_of(self, s: int) -> int:
        """Return how many word lines array `s` uses."""
        return len(self.channels_of(s)) * (1 if self.tap else self.kernel_h * self.kernel_w)


@dataclass(frozen=True)
class Array:
    """One compute-in-memory array.

    Args:
        rows: word lines, at least 1; also the full scale of its converter.
        mapping: "channel" puts floor(rows / taps) input channels with all their taps on an array; "tap" fills arrays
            with the input channels of one kernel tap.
        channels_per_array: overrides that number for convolutions with mapping "channel".

    Example:
        >>> Array(128).layout(80, 3, 3).arrays        # 14 channels each, 10 left for the last
        6
        >>> Array(128, "tap").layout(160, 3, 3).arrays
        18
    """

    rows: int = 128
    mapping: Mapping = "channel"
    channels_per_array: int | None = None

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise UsageError(f"array: {self.rows} rows; at least 1 was needed", hint="use 128 rows")
        if self.mapping not in ("channel", "tap"):
            raise UsageError(
                f"array: mapping '{self.mapping}' is unknown; channel or tap was needed", hint="use channel"
            )
        if self.channels_per_array is not None:
            if self.mapping == "tap":
                raise UsageError(
                    f"array: channels_per_array {self.channels_per_array} has no meaning with mapping tap",
                    hint="leave channels_per_array out, or use mapping channel",
                )
            if self.channels_per_array < 1:
                raise UsageError(
                    f"array: channels_per_array {self.channels_per_array}; at least 1 was needed",
                    hint="leave channels_per_array out",
                )

    def layout(self, in_channels_per_group: int, kernel_h: int, kernel_w: int) -> Layout:
        """Cut a convolution's reduction into arrays.

        Raises:
            UsageError: when not even one channel (or not `channels_per_array` channels) fits into the rows.
        """
        taps = kernel_h * kernel_w
        if self.mapping == "tap":
            per_array = min(self.rows, in_channels_per_group)
            return Layout(in_channels_per_group, kernel_h, kernel_w, self.rows, per_array, True)
        per_array = self.channels_per_array or self.rows // taps
        if not 1 <= per_array * taps <= self.rows:
            channels = max(per_array, 1)
            raise UsageError(
                f"array: {channels} channels of a {kernel_h}x{kernel_w} kernel need {channels * taps} rows; "
                f"the array has {self.rows}",
                hint="use more rows, fewer channels_per_array, or mapping tap",
            )
        per_array = min(per_array, in_channels_per_group)
        return Layout(in_channels_per_group, kernel_h, kernel_w, self.rows, per_array, False)

    def linear_layout(self, in_features: int) -> Layout:
        """Cut a linear layer's reduction into arrays of `rows` inputs, whatever `channels_per_array` says."""
        return Layout(in_features, 1, 1, self.rows, min(self.rows, in_features), False)

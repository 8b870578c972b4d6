"""SMAP L4 soil-moisture granules (SPL4SM gph, aup, lmc): names, choice of files, grid, values.

What the three collections share. A granule is one HDF5 file, either global (1624 x 3856) or clipped
to a rectangle of the 9-km grid whose place `cell_row` and `cell_column` (0-based, global) give.
Product: doi:10.5067/KPJNN2GI1DQR.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import hashlib
import re
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import h5py
import numpy as np
import pyarrow as pa
from isal import isal_zlib
from numpy.typing import NDArray

from ingest.grid import M09
from ingest.reader import BadInput, Extract, RawFile, Reader, SourceSettings

FILL_VALUES = (-9999.0, 4294967294.0)  # float32/float64 and uint32 fills of every version
MAX_CENTRE_ERROR_DEG = 1e-3
MAX_CENTRE_ERROR_M = 100.0  # x and y: about the same length as 1e-3 degrees
MANTISSA_STEP = 2.0**-11  # versions from 7 keep 12 bits of mantissa
WHOLE_CHUNK_BYTES = 1 << 20  # up to this size a chunk is inflated whole, its checksum too
VOLUMETRIC = frozenset({"m3 m-3", "cm3 cm-3"})  # accepted spellings, see canonical_units
DIMENSIONLESS = frozenset({"1", "dimensionless", "unitless", "-"})

_NAME = re.compile(
    r"SMAP_L4_SM_(gph|aup|lmc)_(\d{8}T\d{6})_(V[vb]\d{4}|OL\d{4}|NR\d{4}|T[abv]\d{4})_(\d{3})\.h5"
)


class GranuleName(NamedTuple):
    """What a file name says; `time` is None for the constants, `stream` is run and version."""

    collection: str
    time: dt.datetime | None
    stream: str
    counter: int


def parse_name(name: str) -> GranuleName | None:
    """The parts of a granule's file name, None for any other name.

    >>> name = parse_name("SMAP_L4_SM_gph_20170101T013000_Vv4030_001.h5")
    >>> name.collection, str(name.time), name.stream, name.counter
    ('gph', '2017-01-01 01:30:00', 'Vv4030', 1)
    >>> parse_name("SMAP_L4_SM_gph_20170101T013000_Vv4030_001.h5.iso.xml") is None
    True
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    collection, stamp, stream, counter = match.groups()
    if collection == "lmc":
        return GranuleName(collection, None, stream, int(counter))
    try:
        time = dt.datetime.strptime(stamp, "%Y%m%dT%H%M%S")
    except ValueError:  # 20170230T013000
        return None
    return GranuleName(collection, time, stream, int(counter))


class GranuleSettings(SourceSettings):
    """Keys shared by the three collections."""

    version: str | None = (
        None  # the VERS of the file names, `?` and `*` allowed: Vv4030, OL4001, Vv703?
    )


class Window(NamedTuple):
    """The rectangle of M09 that a file's arrays cover; columns may run over the 180th meridian."""

    row: int
    col: int
    rows: int
    cols: int

    def locate(self, cells: NDArray[np.integer]) -> tuple[NDArray[np.bool_], NDArray, NDArray]:
        """Which of (n, 2) cells lie inside, and the array row and column of those."""
        row = cells[:, 0] - self.row
        col = (cells[:, 1] - self.col) % M09.cols
        inside = (row >= 0) & (row < self.rows) & (col < self.cols)
        return inside, row[inside], col[inside]


class Reading(NamedTuple):
    """Values of one dataset at the asked cells, float64, NaN where not usable, and why not."""

    values: NDArray[np.float64]
    is_fill: NDArray[np.bool_]
    is_out_of_range: NDArray[np.bool_]

    @property
    def is_ok(self) -> NDArray[np.bool_]:
        return ~(self.is_fill | self.is_out_of_range)

    def counts(self, entity: str, *, n_outside_window: int) -> list[tuple[str, str, int]]:
        """(entity, reason, n); the n sum to the number of study cells; `ok` even where zero."""
        numbers = {
            "ok": int(self.is_ok.sum()),
            "fill": int(self.is_fill.sum()),
            "out_of_range": int(self.is_out_of_range.sum()),
            "outside_window": n_outside_window,
        }
        return [(entity, reason, n) for reason, n in numbers.items() if n or reason == "ok"]


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file open for reading, without locks.

    Raises:
        BadInput: `damaged_file`, whatever HDF5 refuses here or in the block.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, isal_zlib.error) as error:
        empty = path.exists() and path.stat().st_size == 0
        raise BadInput(
            "the file is empty" if empty else f"HDF5 cannot read it: {error}",
            file=path,
            remedy="Fetch the file again",
            reason="damaged_file",
        ) from error


def open_dataset(group: h5py.Group, name: str) -> h5py.Dataset | None:
    """A dataset of a group, None where there is none by that name; remembers its shape."""
    try:
        return h5py.Dataset(h5py.h5d.open(group.id, name.encode()), readonly=True)
    except KeyError:
        return None


def get_datasets(
    file: h5py.File, group_name: str, names: Iterable[str], *, product: str
) -> list[h5py.Dataset]:
    """The named datasets of one group.

    Raises:
        BadInput: `missing_variable`, naming what the file has instead.
    """
    group = file.get(group_name)
    if not isinstance(group, h5py.Group):
        raise BadInput(
            f"no group {group_name}, the file has {', '.join(sorted(file)) or 'nothing'}: "
            f"not a {product} file",
            file=file.filename,
            remedy=f"Point the source at {product} files",
            reason="missing_variable",
        )
    datasets = []
    for name in names:
        dataset = open_dataset(group, name)
        if dataset is None:
            raise BadInput(
                f"no variable {group_name}/{name}, "
                f"the group has {', '.join(sorted(group)) or 'nothing'}",
                file=file.filename,
                remedy="Correct the variable's name in the study or leave its column out",
                reason="missing_variable",
            )
        datasets.append(dataset)
    return datasets


def canonical_units(text: str) -> str:
    """One spelling of a unit: lower case, powers as bare exponents, no division sign.

    >>> canonical_units("m^3 m^-3"), canonical_units("m3/m3"), canonical_units("kg m**-2 s**-1")
    ('m3 m-3', 'm3 m-3', 'kg m-2 s-1')
    """
    plain = re.sub(r"\*\*|\^|[{}()]", "", text.strip().lower()).replace("*", " ").replace(".", " ")
    tokens = []
    for sign, unit, power in re.findall(r"(/?)\s*([a-z%]+|1(?![\d]))(-?\d*)", plain):
        if sign:
            power = str(-int(power or 1))
        tokens.append(unit + (power if power != "1" else ""))
    return " ".join(tokens) if tokens else plain


def text_attribute(dataset: h5py.Dataset, name: str) -> str | None:
    """A one-element attribute as text, None where absent."""
    if not h5py.h5a.exists(dataset.id, name.encode()):
        return None
    value = np.ravel(dataset.attrs[name])
    if value.size == 0:
        return None
    first = value[0]
    return first.decode("latin-1").rstrip("\0 ") if isinstance(first, bytes) else str(first)


def numeric_attribute(dataset: h5py.Dataset, name: str) -> float | None:
    """A one-element attribute as number, None where absent; spares the detour over `attrs`.

    Raises:
        BadInput: `damaged_file`, the attribute is text.
    """
    if not h5py.h5a.exists(dataset.id, name.encode()):
        return None
    stored = h5py.h5a.open(dataset.id, name.encode())
    number = np.empty(stored.shape, np.float64)
    if number.size == 0:
        return None
    try:
        stored.read(number, mtype=h5py.h5t.NATIVE_DOUBLE)
    except (OSError, TypeError):
        raise BadInput(
            f"attribute {name} of {dataset.name} is not a number: {dataset.attrs[name]!r}",
            file=dataset.file.filename,
            remedy="Write it as a number",
            reason="damaged_file",
        ) from None
    return float(number.flat[0])


def check_numbers(dataset: h5py.Dataset) -> None:
    """Refuse what is not plain numbers: text, records, values packed by a scale or an offset.

    Raises:
        BadInput: `unit_mismatch`.
    """
    scale = numeric_attribute(dataset, "scale_factor")
    offset = numeric_attribute(dataset, "add_offset")
    if dataset.dtype.kind in "fiu" and scale in (None, 1.0) and offset in (None, 0.0):
        return
    raise BadInput(
        f"{dataset.name} holds {dataset.dtype}, scale {scale}, offset {offset}",
        file=dataset.file.filename,
        remedy="Give plain numbers, as in the original product",
        reason="unit_mismatch",
    )


def check_units(dataset: h5py.Dataset, accepted: frozenset[str]) -> None:
    """Refuse a units attribute that contradicts; an absent or empty one says nothing.

    Raises:
        BadInput: `unit_mismatch`.
    """
    found = text_attribute(dataset, "units")
    if not found or canonical_units(found) in accepted:
        return
    raise BadInput(
        f"{dataset.name} is in {found!r}, expected {' or '.join(sorted(accepted))}",
        file=dataset.file.filename,
        remedy="Choose the variable that holds this quantity or correct the file's units",
        reason="unit_mismatch",
    )


def classify(
    stored: NDArray,
    *,
    fill: float | None = None,
    valid_min: float | None = None,
    valid_max: float | None = None,
) -> Reading:
    """Tell usable values from fills (non-finite too) and from those outside [valid_min, valid_max].

    Fills and limits are compared in the type of the data: 0.05 as float64 is below 0.05 as float32.
    Where both limits are one constant, the shaved mantissa of later versions is allowed for.

    >>> reading = classify(np.array([0.2, -9999, 0.95], "f4"), valid_min=0.0, valid_max=0.9)
    >>> reading.is_ok.tolist(), reading.is_fill.tolist(), reading.is_out_of_range.tolist()
    ([True, False, False], [False, True, False], [False, False, True])
    """

    def as_stored(limit: float) -> float:
        with np.errstate(over="ignore"):
            return float(stored.dtype.type(limit)) if stored.dtype.kind == "f" else limit

    low = -np.inf if valid_min is None or np.isnan(valid_min) else as_stored(valid_min)
    high = np.inf if valid_max is None or np.isnan(valid_max) else as_stored(valid_max)
    slack = MANTISSA_STEP * abs(low) if low == high else 0.0
    values = stored.astype(np.float64)
    is_fill = ~np.isfinite(values)
    for marker in FILL_VALUES if fill is None else (*FILL_VALUES, fill):
        is_fill |= values == as_stored(marker)
    is_out = ~is_fill & ~((values >= low - slack) & (values <= high + slack))
    values[is_fill | is_out] = np.nan
    return Reading(values, is_fill, is_out)


def read_points(dataset: h5py.Dataset, rows: NDArray, cols: NDArray) -> NDArray:
    """Stored values of a 2-D dataset at (rows, cols), n >= 1.

    A dataset that is one gzip chunk is taken raw and inflated only down to the last needed row; a
    large chunk cut short this way is not checked by its checksum. Other layouts go through HDF5.
    """
    stop = int(rows.max()) + 1
    raw = _whole_gzip_chunk(dataset)
    if raw is None:
        first, left, right = int(rows.min()), int(cols.min()), int(cols.max()) + 1
        return dataset[first:stop, left:right][rows - first, cols - left]
    row_bytes = dataset.shape[1] * dataset.dtype.itemsize
    total, needed = dataset.shape[0] * row_bytes, stop * row_bytes
    if total <= WHOLE_CHUNK_BYTES or 2 * needed > total:
        inflated = isal_zlib.decompress(raw, bufsize=total)
        complete = len(inflated) == total
    else:
        inflated = isal_zlib.decompressobj().decompress(raw, needed)
        complete = len(inflated) == needed
    if not complete:
        raise BadInput(
            f"{dataset.name} ends after {len(inflated)} bytes",
            file=dataset.file.filename,
            remedy="Fetch the file again",
            reason="damaged_file",
        )
    return np.frombuffer(inflated, dataset.dtype).reshape(-1, dataset.shape[1])[rows, cols]


def _whole_gzip_chunk(dataset: h5py.Dataset) -> bytes | None:
    layout = dataset.id.get_create_plist()
    if (
        layout.get_layout() != h5py.h5d.CHUNKED
        or layout.get_chunk() != dataset.shape
        or layout.get_nfilters() != 1
        or layout.get_filter(0)[0] != h5py.h5z.FILTER_DEFLATE
        or dataset.id.get_storage_size() == 0
    ):
        return None
    skipped_filters, raw = dataset.id.read_direct_chunk((0,) * dataset.ndim)
    return raw if skipped_filters == 0 else None


_windows: dict[
    bytes, Window
] = {}  # digest of stored coordinates -> the window they were found to say


def find_window(file: h5py.File, shape: tuple[int, ...]) -> Window:
    """Where a file's arrays of this shape lie on M09, after checking every coordinate the file has.

    The coordinates of one product are the same bytes in every granule, so what was checked once is
    recognised by the digest of the stored (compressed) bytes.

    Raises:
        BadInput: `wrong_grid` or `flipped_orientation`.
    """
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    for name in ("cell_row", "cell_column", "cell_lat", "cell_lon", "y", "x"):
        dataset = open_dataset(file, name)
        if dataset is not None:
            digest.update(f"{name} {dataset.dtype.str} {dataset.shape} ".encode())
            digest_stored(dataset, digest)
    key = digest.digest()
    window = _windows.get(key)
    if window is None:
        window = _check_coordinates(file, shape)
        if len(_windows) >= 64:
            _windows.clear()
        _windows[key] = window
    return window


def digest_stored(dataset: h5py.Dataset, digest) -> None:
    """Add a dataset's stored bytes, compressed as they are, to a hashlib object."""
    layout = dataset.id.get_create_plist()
    if layout.get_layout() != h5py.h5d.CHUNKED:
        digest.update(np.ascontiguousarray(dataset[()]))
        return
    filters = [layout.get_filter(i)[:3] for i in range(layout.get_nfilters())]
    digest.update(repr((layout.get_chunk(), filters)).encode())
    for i in range(dataset.id.get_num_chunks()):
        offset = dataset.id.get_chunk_info(i).chunk_offset
        skipped_filters, raw = dataset.id.read_direct_chunk(offset)
        digest.update(f"{offset} {skipped_filters} ".encode())
        digest.update(raw)


def _check_coordinates(file: h5py.File, shape: tuple[int, ...]) -> Window:
    def refuse(found: str, reason: str) -> BadInput:
        remedies = {
            "flipped_orientation": "Write row 0 northernmost and column 0 westernmost",
            "wrong_grid": f"Give 9-km EASE-Grid 2.0 arrays, global {M09.rows} x {M09.cols}, or a "
            "rectangle of it with cell_row and cell_column",
        }
        return BadInput(found, file=file.filename, remedy=remedies[reason], reason=reason)

    def coordinate(name: str) -> NDArray[np.float64] | None:
        dataset = open_dataset(file, name)
        if dataset is None:
            return None
        allowed = {"y": shape[:1], "x": shape[1:]}.get(name, shape)
        if dataset.shape != allowed:
            raise refuse(f"{name} has shape {dataset.shape}, the data have {shape}", "wrong_grid")
        values = dataset[()].astype(np.float64)
        values[np.isin(values, FILL_VALUES)] = np.nan
        return values

    if len(shape) != 2 or 0 in shape or shape[0] > M09.rows or shape[1] > M09.cols:
        raise refuse(f"arrays of shape {shape}", "wrong_grid")
    is_global = shape == (M09.rows, M09.cols)
    start = {}
    for name, axis, count in (("cell_row", 0, M09.rows), ("cell_column", 1, M09.cols)):
        index = coordinate(name)
        if index is None or not np.isfinite(index).any():
            if not is_global:
                raise refuse(
                    f"arrays of shape {shape} without {name} to say where they lie", "wrong_grid"
                )
            start[name] = 0
            continue
        along = np.arange(shape[axis], dtype=np.float64).reshape((-1, 1) if axis == 0 else (1, -1))
        cycle = count if axis == 1 else np.inf  # columns may run over the 180th meridian
        usable = np.isfinite(index)
        first = _only_value(
            np.mod(index - along, cycle)[usable] if axis else (index - along)[usable]
        )
        if first is None:
            backwards = np.mod(index + along, count)[usable]
            if shape[axis] > 1 and _only_value(backwards) is not None:
                raise refuse(f"{name} runs backwards", "flipped_orientation")
            raise refuse(f"{name} does not step by one cell", "wrong_grid")
        last = first if axis else first + shape[0] - 1
        if first < 0 or last >= count or first != int(first) or (is_global and first != 0):
            raise refuse(f"{name} starts at {first:g} in arrays of shape {shape}", "wrong_grid")
        start[name] = int(first)
    window = Window(start["cell_row"], start["cell_column"], *shape)

    rows = window.row + np.arange(window.rows)
    cols = (window.col + np.arange(window.cols)) % M09.cols
    latitude, _ = M09.centre(rows, np.zeros_like(rows))
    _, longitude = M09.centre(np.zeros_like(cols), cols)
    y = M09.y0_m - (rows + 0.5) * M09.cell_m
    x = M09.x0_m + (cols + 0.5) * M09.cell_m
    for name, expected, limit in (
        ("cell_lat", latitude[:, None], MAX_CENTRE_ERROR_DEG),
        ("cell_lon", longitude[None, :], MAX_CENTRE_ERROR_DEG),
        ("y", y, MAX_CENTRE_ERROR_M),
        ("x", x, MAX_CENTRE_ERROR_M),
    ):
        values = coordinate(name)
        if values is None:
            continue
        worst = _largest_error(values, expected)
        if worst < limit:
            continue
        unit = "degrees" if limit == MAX_CENTRE_ERROR_DEG else "m"
        if _largest_error(values, np.flip(expected)) < limit:
            raise refuse(f"{name} runs backwards", "flipped_orientation")
        raise refuse(
            f"{name} is up to {worst:g} {unit} away from the 9-km cell centres", "wrong_grid"
        )
    return window


def _only_value(values: NDArray[np.float64]) -> float | None:
    low, high = float(values.min()), float(values.max())
    return low if low == high else None


def _largest_error(values: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    return float(np.nanmax(np.abs(values - expected), initial=0.0))


class GranuleReader(Reader):
    """Finds the granules of one collection and opens them at the study's cells."""

    collection: ClassVar[str]
    settings: GranuleSettings

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if self.cells is not None:  # sorted by row, column: the partitions' order
            self.cells = np.unique(np.asarray(self.cells, dtype=np.int64).reshape(-1, 2), axis=0)

    def find(self) -> list[RawFile]:
        """Every .h5 file with its fate: read, or the reason why not.

        Of files with one time stamp the highest reprocessing counter is read, others are
        `superseded`; of one name in two folders the first path is read, the other a `duplicate`.

        Raises:
            BadInput: `several_versions`, files of more than one run or version are left.
        """
        root, locations = self.expand_paths()
        found: list[RawFile] = []
        usable: dict[dt.datetime | None, list[tuple[GranuleName, RawFile]]] = defaultdict(list)
        pattern = self.settings.version
        for location in locations:
            if location.suffix != ".h5":
                continue
            name = parse_name(location.name)
            partition, status = "", "ok"
            if name is None:
                status = "not_recognised"
            elif name.collection != self.collection:
                status = "other_collection"
            else:
                partition = f"{name.time:%Y-%m}" if name.time else "static"
                if pattern is not None and not fnmatch.fnmatchcase(name.stream, pattern):
                    status = "other_version"
                elif name.time and not self.inside_period(name.time.date()):
                    status = "outside_period"
            raw = self.raw_file(root, location, partition=partition, status=status)
            if name is None or status != "ok":
                found.append(raw)
            else:
                usable[name.time].append((name, raw))
        self._refuse_several_versions({n.stream for group in usable.values() for n, _ in group})
        for group in usable.values():
            group.sort(key=lambda pair: (pair[0].stream, pair[0].counter, pair[1].path))
            best, kept = group[-1][0], None
            for name, raw in group:
                if name != best:
                    raw = replace(raw, status="superseded")
                elif kept is None:
                    kept = raw
                else:
                    raw = replace(raw, status="duplicate")
                found.append(raw)
        return sorted(found, key=lambda raw: raw.path)

    def _refuse_several_versions(self, streams: set[str]) -> None:
        # a pattern may join minor versions (Vv7030, Vv7032) but never two runs (Vv4, OL4, Vv5)
        runs = streams if self.settings.version is None else {stream[:3] for stream in streams}
        if len(runs) > 1:
            raise BadInput(
                f"files of several versions: {', '.join(sorted(streams))}",
                key=f"{self.key}.version",
                remedy="Name one of them; a pattern such as Vv703? joins minor versions of one run",
                reason="several_versions",
            )

    def read(self, raw: RawFile) -> Extract:
        with open_hdf5(raw.location) as file:
            return self.extract(file, raw)

    @abstractmethod
    def extract(self, file: h5py.File, raw: RawFile) -> Extract:
        """Tables of one open file."""

    def time_of(self, raw: RawFile) -> dt.datetime | None:
        """The instant in the file's name; /time decoded by the conventions is 64 s early."""
        name = parse_name(raw.location.name)
        if name is None:
            raise BadInput(
                "the name is not that of an SPL4SM granule",
                file=raw.location,
                reason="not_recognised",
            )
        return name.time

    def locate(self, file: h5py.File, dataset: h5py.Dataset) -> tuple[NDArray, NDArray, NDArray]:
        """The study's cells inside the file, (n, 2), and their array rows and columns.

        Raises:
            BadInput: `no_cell_in_file`, or the grid is not the study's.
        """
        window = find_window(file, dataset.shape)
        inside, rows, cols = window.locate(self.cells)
        if not inside.any():
            raise BadInput(
                f"none of the study's {len(self.cells)} cells is in rows {window.row}.."
                f"{window.row + window.rows - 1}, columns {window.col}.."
                f"{(window.col + window.cols - 1) % M09.cols}",
                file=file.filename,
                key=self.key,
                remedy="Give files that cover the study's region",
                reason="no_cell_in_file",
            )
        return self.cells[inside], rows, cols


def read_variable(
    dataset: h5py.Dataset,
    rows: NDArray,
    cols: NDArray,
    *,
    shape: tuple[int, ...],
    units: frozenset[str],
) -> Reading:
    """One dataset at array rows and columns; shape, type, units, fills and limits checked.

    Raises:
        BadInput: `wrong_grid` (its shape is not `shape`), `unit_mismatch`, `damaged_file`.
    """
    if dataset.shape != shape:
        raise BadInput(
            f"{dataset.name} has shape {dataset.shape}, other arrays of the file {shape}",
            file=dataset.file.filename,
            reason="wrong_grid",
        )
    check_numbers(dataset)
    check_units(dataset, units)
    fill = numeric_attribute(dataset, "_FillValue")
    return classify(
        read_points(dataset, rows, cols),
        fill=numeric_attribute(dataset, "missing_value") if fill is None else fill,
        valid_min=numeric_attribute(dataset, "valid_min"),
        valid_max=numeric_attribute(dataset, "valid_max"),
    )


def cell_columns(cells: NDArray) -> dict[str, pa.Array]:
    """`grid_row` and `grid_col` of (n, 2) cells."""
    return {
        "grid_row": pa.array(cells[:, 0].astype(np.int32)),
        "grid_col": pa.array(cells[:, 1].astype(np.int32)),
    }


def float32_column(values: NDArray[np.float64], *, factor: float = 1.0) -> pa.Array:
    """Values times `factor` in double precision, rounded once to float32; NaN becomes null."""
    return pa.array((values * factor).astype(np.float32), mask=np.isnan(values))

"""Copernicus Global Land leaf area index, 1 km, version 2, reduced to 9 km cells.

SPOT-VGT and PROBA-V files. A cell's value is the mean of the valid pixels whose centre lies in it,
null below `min_valid_frac`. The valid range is applied to the packed numbers, before scaling: flags
above it (241 to 254) are not the fill value and would become leaf area indices above 8. The day is
that of the file name: labels 10, 20 and month end become the nominal days 5, 15 and 25.

Each pixel of a cell has one reason: `ok`, `ok_gap_filled` (used, though gap-filled), `fill`,
`outside_valid_range` (flags), `qflag_<bit>` (the lowest rejecting bit) or `outside_raster`. A cell
that no pixel of the file touches has no row.

Source: Verger et al. 2014, doi:10.1109/JSTARS.2013.2289931 (GEOV2).
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import netCDF4
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from ingest.reader import BadInput, Extract, RawFile, Reader, SourceSettings
from ingest.sources.raster_cells import LatLonPixels

PIXEL_DEG = 1 / 112
PHYSICAL_MAX = 7.0
GAP_FILLED = 4
_NAME = re.compile(
    r"c_gls_LAI(?P<fine>300)?(?:-RT(?P<rt>\d))?_(?P<day>\d{8})(?:\d{4})?_(?P<region>.+)_"
    r"(?P<sensor>[A-Z0-9]+)_V(?P<version>\d+(?:\.\d+)*)(?:[-_].*)?\.nc4?$",
    re.IGNORECASE,
)
_CACHE_BYTES = 256 * 2**20


class CglsLai(SourceSettings):
    """Settings of a Copernicus 1 km LAI source.

    `lai_qflag_mask` holds the QFLAG bits that reject a pixel. The default, 1 + 32 + 64, rejects sea
    and what the product calls invalid (input or LAI). Gap-filled pixels (bit 4) are kept, as in the
    series that the study cites, and counted apart; add 4 to reject them. 65535 keeps only QFLAG 0,
    0 ignores QFLAG.

    `pixel_registration` says what lat and lon mark. Left out, the file's own GeoTransform decides,
    and files without one mark the upper-left corner; given, a GeoTransform that disagrees refuses
    the file.
    """

    format: Literal["cgls_lai"]
    lai_qflag_mask: int = Field(default=1 + 32 + 64, ge=0, le=65535)
    pixel_registration: Literal["upper_left", "centre"] | None = None
    min_valid_frac: float = Field(default=0.5, ge=0, le=1)


def dekad_day(label: dt.date) -> dt.date:
    """Nominal day (5, 15, 25) of the dekad that a label (10, 20, month end) closes.

    Raises:
        ValueError: the label closes no dekad.

    >>> dekad_day(dt.date(2016, 2, 29))
    datetime.date(2016, 2, 25)
    """
    if label.day in (10, 20):
        return label.replace(day=label.day - 5)
    if (label + dt.timedelta(days=1)).day == 1:
        return label.replace(day=25)
    raise ValueError(f"{label} is not day 10, day 20 or the end of a month")


class CglsLaiReader(Reader):
    """Reads one dekad's file to one row per study cell that the file touches."""

    tables: ClassVar = {
        "lai": pa.schema(
            [
                pa.field("grid_row", pa.int32(), nullable=False),
                pa.field("grid_col", pa.int32(), nullable=False),
                pa.field("obs_date", pa.date32(), nullable=False),
                pa.field("lai_m2m2", pa.float32()),
                pa.field("n_valid", pa.int32(), nullable=False),
                pa.field("n_pixels", pa.int32(), nullable=False),
                pa.field("valid_area_frac", pa.float32(), nullable=False),
            ]
        )
    }
    sort_key: ClassVar = {"lai": ("obs_date", "grid_row", "grid_col")}
    version: ClassVar = "1"

    def find(self) -> list[RawFile]:
        """One file per dekad: RT6 (or no RT) first, then the higher version, PROBA-V before VGT."""
        root, paths = self.expand_paths()
        files, ranked = [], {}
        for path in paths:
            name = _NAME.match(path.name)
            raw = self.raw_file(root, path, partition="")
            if name is None:
                raw = replace(raw, status="not_recognised", reason="not_a_lai_file")
            elif name["fine"] or name["version"].split(".")[0] != "2":
                raw = replace(raw, status="not_recognised", reason="other_algorithm")
            else:
                try:
                    day = dekad_day(dt.datetime.strptime(name["day"], "%Y%m%d").date())
                except ValueError:
                    raw = replace(raw, status="not_recognised", reason="not_a_dekad")
                else:
                    raw = replace(raw, partition=str(day.year))
                    if not self.inside_period(day):
                        raw = replace(raw, status="outside_period", reason="outside_period")
                    else:
                        ranked.setdefault(day, []).append((_rank(name), raw))
                        continue
            files.append(raw)
        for same_day in ranked.values():
            same_day.sort(key=lambda entry: (entry[0], entry[1].path))
            best = same_day[-1][1]
            files.append(best)
            files += [
                replace(raw, status="superseded", reason=f"superseded by {best.path}")
                for _, raw in same_day[:-1]
            ]
        return sorted(files, key=lambda raw: raw.path)

    def read(self, raw: RawFile) -> Extract:
        path = raw.location
        name = _NAME.match(path.name)
        day = dekad_day(dt.datetime.strptime(name["day"], "%Y%m%d").date())
        with _open(path) as data:
            lai = _variable(data, "LAI", path)
            flag = None
            if self.settings.lai_qflag_mask:
                flag = _variable(data, "QFLAG", path)
                if flag.shape != lai.shape or flag.dtype.kind not in "ui":
                    raise BadInput(
                        f"QFLAG is {flag.dtype} {flag.shape}, LAI {lai.shape}",
                        file=path,
                        remedy="expected whole-number bits on the grid of LAI",
                        reason="wrong_dtype",
                    )
            packing = _Packing(lai, path)
            latitude, longitude = self._centres(data, lai, path)
            pixels = LatLonPixels(latitude, longitude, self.cells)
            total = np.zeros(len(pixels.cells))
            n_valid = np.zeros(len(pixels.cells), dtype=np.int64)
            counts: Counter[str] = Counter()
            counts["outside_raster"] = int((pixels.n_pixels - pixels.n_inside).sum())
            for window in pixels.windows():
                part = (*[0] * (lai.ndim - 2), window.rows, window.cols)
                packed = packing.unsigned(_read(lai, part, path))
                bits = None if flag is None else _read(flag, part, path)
                valid = self._judge(packed, bits, window.cell >= 0, packing, counts)
                window.add(total, valid, packed)
                window.add(n_valid, valid)
        touched = pixels.n_inside > 0
        frac = np.divide(n_valid, pixels.n_pixels, out=np.zeros(len(total)), where=touched)
        enough = touched & (n_valid > 0) & (frac >= self.settings.min_valid_frac)
        mean = np.divide(total, n_valid, out=np.zeros(len(total)), where=enough)
        value = (mean * packing.scale + packing.offset).astype(np.float32)
        order = np.lexsort((pixels.cells[:, 1], pixels.cells[:, 0]))
        order = order[touched[order]]
        table = pa.table(
            [
                pa.array(pixels.cells[order, 0], pa.int32()),
                pa.array(pixels.cells[order, 1], pa.int32()),
                pa.array([day] * len(order), pa.date32()),
                pa.array(value[order], pa.float32(), mask=~enough[order]),
                pa.array(n_valid[order], pa.int32()),
                pa.array(pixels.n_pixels[order], pa.int32()),
                pa.array(frac[order].astype(np.float32), pa.float32()),
            ],
            schema=self.tables["lai"],
        )
        return Extract(
            {"lai": table}, [("lai_m2m2", reason, n) for reason, n in sorted(counts.items()) if n]
        )

    def _judge(
        self,
        packed: NDArray,
        bits: NDArray | None,
        inside: NDArray[np.bool_],
        packing: _Packing,
        counts: Counter[str],
    ) -> NDArray[np.bool_]:
        """Which pixels count; adds every pixel of a cell to its reason."""
        fill = inside & (packed == packing.fill)
        flagged = inside & ~fill & ((packed < packing.low) | (packed > packing.high))
        valid = inside & ~fill & ~flagged
        counts["fill"] += int(fill.sum())
        counts["outside_valid_range"] += int(flagged.sum())
        if bits is None:
            counts["ok"] += int(valid.sum())
            return valid
        bits = bits.astype(np.int64) & 0xFFFF
        rejecting = bits & self.settings.lai_qflag_mask
        rejected = valid & (rejecting != 0)
        lowest, n = np.unique((rejecting & -rejecting)[rejected], return_counts=True)
        for bit, count in zip(lowest.tolist(), n.tolist(), strict=True):
            counts[f"qflag_{bit}"] += count
        valid &= ~rejected
        filled = int((valid & ((bits & GAP_FILLED) != 0)).sum())
        counts["ok_gap_filled"] += filled
        counts["ok"] += int(valid.sum()) - filled
        return valid

    def _centres(
        self, data: netCDF4.Dataset, lai: netCDF4.Variable, path: Path
    ) -> tuple[NDArray, NDArray]:
        """Latitude and longitude of pixel centres."""
        latitude, longitude = (_even_axis(data, name, path) for name in ("lat", "lon"))
        expected = (len(latitude), len(longitude))
        flat = lai.ndim == 2 or (lai.ndim == 3 and lai.shape[0] == 1)
        if not flat or lai.dimensions[-2:] != ("lat", "lon"):
            raise BadInput(
                f"LAI has dimensions {lai.dimensions} {lai.shape}",
                file=path,
                key="LAI",
                remedy=f"expected (time = 1, lat, lon) = {(1, *expected)}",
                reason="wrong_grid",
            )
        stated = _registration(data, lai, latitude, longitude, path)
        wanted = self.settings.pixel_registration
        if wanted and stated and wanted != stated:
            raise BadInput(
                f"the GeoTransform says that lat and lon mark the {stated} of pixels",
                file=path,
                key=f"{self.key}.pixel_registration",
                remedy=f"leave the key out, or set {stated}",
                reason="wrong_grid",
            )
        if (wanted or stated or "upper_left") == "centre":
            return latitude, longitude
        return latitude - PIXEL_DEG / 2, longitude + PIXEL_DEG / 2


class _Packing:
    """How LAI is packed: valid range and fill in packed numbers, scale and offset."""

    def __init__(self, lai: netCDF4.Variable, path: Path):
        self.bytes_are_unsigned = str(getattr(lai, "_Unsigned", "false")).lower() == "true"
        dtype = lai.dtype
        if dtype.kind not in "ui" or (dtype == np.int8 and not self.bytes_are_unsigned):
            raise BadInput(
                f"LAI is stored as {dtype}",
                file=path,
                key="LAI",
                remedy="expected packed whole numbers; unpacking first turns flags into leaf area",
                reason="wrong_dtype",
            )
        self.scale = float(getattr(lai, "scale_factor", 0))
        self.offset = float(getattr(lai, "add_offset", 0))
        if self.scale <= 0:
            raise BadInput(
                "LAI has no scale_factor above 0",
                file=path,
                key="LAI",
                remedy="expected about 1/30",
                reason="missing_attribute",
            )
        limits = getattr(lai, "valid_range", None)
        if limits is None and hasattr(lai, "valid_max"):
            limits = [getattr(lai, "valid_min", 0), lai.valid_max]
        if limits is None:
            limits = [0, round((PHYSICAL_MAX - self.offset) / self.scale)]
        limits = np.asarray(limits).ravel()
        if limits.dtype == np.int8:
            limits = limits.view(np.uint8)
        if limits.dtype.kind not in "ui" or len(limits) != 2:
            raise BadInput(
                f"valid_range {limits.tolist()} ({limits.dtype}) is not in packed whole numbers",
                file=path,
                key="LAI",
                remedy="expected for instance [0, 210]",
                reason="wrong_units",
            )
        self.low, self.high = (int(v) for v in limits)
        top = self.high * self.scale + self.offset
        if not 1 < top <= 10:
            raise BadInput(
                f"the largest valid LAI would be {top:g} m2 m-2",
                file=path,
                key="LAI",
                remedy="expected about 7: check scale_factor and valid_range",
                reason="wrong_units",
            )
        fill = np.asarray(getattr(lai, "_FillValue", getattr(lai, "missing_value", 255)))
        self.fill = int(fill.astype(np.uint8) if self.bytes_are_unsigned else fill)

    def unsigned(self, packed: NDArray) -> NDArray[np.int64]:
        """Packed numbers as stored, bytes marked `_Unsigned` without their sign."""
        return (packed.view(np.uint8) if self.bytes_are_unsigned else packed).astype(np.int64)


def _rank(name: re.Match[str]) -> tuple[int, tuple[int, ...], bool, bool]:
    """Larger is better; a name without RT is a consolidated file."""
    return (
        6 if name["rt"] is None else int(name["rt"]),
        tuple(int(part) for part in name["version"].split(".")),
        name["sensor"].upper() != "VGT",
        name["region"].upper() == "GLOBE",
    )


@contextmanager
def _open(path: Path) -> Iterator[netCDF4.Dataset]:
    try:
        data = netCDF4.Dataset(path)
    except OSError as error:
        raise BadInput(
            f"not a readable NetCDF file ({error.strerror or error})",
            file=path,
            remedy="fetch it again",
        ) from error
    try:
        data.set_auto_maskandscale(False)
        yield data
    finally:
        data.close()


def _variable(data: netCDF4.Dataset, name: str, path: Path) -> netCDF4.Variable:
    if name not in data.variables:
        raise BadInput(
            f"no variable {name}; found {', '.join(sorted(data.variables)) or 'none'}",
            file=path,
            key=name,
            remedy="`lai_qflag_mask: 0` reads files without QFLAG" if name == "QFLAG" else "",
            reason="missing_variable",
        )
    variable = data.variables[name]
    chunks = variable.chunking() if data.data_model.startswith("NETCDF4") else "contiguous"
    if variable.ndim >= 2 and isinstance(chunks, list):  # keep one row of chunks at hand
        size = int(np.prod(chunks)) * variable.dtype.itemsize
        across = -(-variable.shape[-1] // chunks[-1])
        variable.set_var_chunk_cache(min(2 * across * size, max(_CACHE_BYTES, size)), 4001, 0.75)
    return variable


def _read(variable: netCDF4.Variable, part: tuple[slice | int, ...], path: Path) -> NDArray:
    try:
        return np.asarray(variable[part])
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"{variable.name} breaks off at {part} ({error})",
            file=path,
            key=variable.name,
            remedy="fetch the file again",
        ) from error


def _even_axis(data: netCDF4.Dataset, name: str, path: Path) -> NDArray[np.float64]:
    """The values of lat or lon, checked to step by 1/112 degree."""
    axis = _read(_variable(data, name, path), (slice(None),), path).astype(np.float64)
    step = np.diff(axis) if axis.ndim == 1 and len(axis) > 1 else np.array([np.nan])
    if (
        not (np.abs(np.abs(step) - PIXEL_DEG) < 0.02 * PIXEL_DEG).all()
        or len(np.unique(step > 0)) > 1
    ):
        raise BadInput(
            f"{name} {axis.shape} steps by {step.min():.6f} to {step.max():.6f} degrees",
            file=path,
            key=name,
            remedy=f"expected an even {PIXEL_DEG:.6f} degrees (1/112)",
            reason="wrong_grid",
        )
    return axis


def _registration(
    data: netCDF4.Dataset, lai: netCDF4.Variable, latitude: NDArray, longitude: NDArray, path: Path
) -> str | None:
    """What lat and lon mark by the file's GeoTransform, which a clip may keep from its original."""
    crs = data.variables.get(getattr(lai, "grid_mapping", "crs"))
    transform = getattr(crs, "GeoTransform", None) if crs is not None else None
    if transform is None:
        return None
    if isinstance(transform, str):
        transform = [
            float(word) for word in re.findall(r"[-+]?\d[\d.]*(?:[eE][-+]?\d+)?", transform)
        ]
    transform = np.asarray(transform, dtype=np.float64).ravel()
    marks = set()
    if len(transform) == 6 and transform[1] and transform[5]:
        for first, origin, step in (
            (longitude[0], transform[0], transform[1]),
            (latitude[0], transform[3], transform[5]),
        ):
            part = (first - origin) / step
            part -= np.floor(part)
            if min(part, 1 - part) < 0.1:
                marks.add("upper_left")
            elif abs(part - 0.5) < 0.1:
                marks.add("centre")
            else:
                marks.add("neither")
    if marks not in ({"upper_left"}, {"centre"}):
        raise BadInput(
            f"lat and lon ({latitude[0]:.6f}, {longitude[0]:.6f}, …) do not lie on the grid of"
            f" GeoTransform {transform.tolist()}",
            file=path,
            key="crs",
            remedy="expected pixel corners or centres",
            reason="wrong_grid",
        )
    return marks.pop()

"""Tables over study cells as CF-1.8 NetCDF: one array per column, cells along one dimension.

The cells lie scattered over the grid, so they are a list (`gridcell`) with latitude, longitude and the grid's x and
y beside it, not a raster. Key columns become dimensions; text values become flags.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import netCDF4
import numpy as np
import polars as pl
from pyproj import CRS

from ingest.grid import M09
from skillhouse.bundle import Bundle, Column, Table
from skillhouse.bundle_description import SYNTHETIC, citations

#: key column -> dimension, in the order of an array's axes; a label is no coordinate in the sense of CF,
#: which are numbers, so its dimension has another name
_DIMENSIONS = {
    "product": "n_product",
    "layer": "n_layer",
    "polarization": "n_polarization",
    "gridcell_id": "gridcell",
    "obs_date": "time",
    "observed_at": "time",
}
#: a column of this key holds another quantity for each of its values: one variable each
_SPLIT = "metric"
_STANDARD_NAMES = {
    "ssm_m3m3": "volume_fraction_of_condensed_water_in_soil",
    "rzsm_m3m3": "volume_fraction_of_condensed_water_in_soil",
    "precipitation_mm": "lwe_thickness_of_precipitation_amount",
    "latent_heat_wm2": "surface_upward_latent_heat_flux",
    "lai_m2m2": "leaf_area_index",
    "box_latitude": "latitude",
    "box_longitude": "longitude",
    "observed_k": "brightness_temperature",
    "forecast_k": "brightness_temperature",
    "n_obs_ssm": "number_of_observations",
    "n_obs_rzsm": "number_of_observations",
}
#: what a value stands for within its day; columns not named here are no daily values
_CELL_METHODS = {
    "ssm_m3m3": "time: mean",
    "rzsm_m3m3": "time: mean",
    "ssm_anomaly_m3m3": "time: mean",
    "rzsm_anomaly_m3m3": "time: mean",
    "latent_heat_wm2": "time: mean",
    "latent_heat_anomaly_wm2": "time: mean",
    "roughness": "time: mean",
    "precipitation_mm": "time: sum",
}
#: units as UDUNITS has them; a bare `days` would be read as a duration
_UNITS = {"days": "d", "%": "percent"}
_INT_FILL = np.int32(netCDF4.default_fillvals["i4"])
_EPOCH = "1970-01-01 00:00:00"
_CHUNK_TIMES, _CHUNK_CELLS = 400, 512


def fits_netcdf(table: Table) -> str:
    """Why a table has no NetCDF form; empty when it has.

    Args:
        table: a table of a bundle.
    """
    keys = set(table.key)
    if "gridcell_id" not in keys:
        return "no row per cell"
    if others := sorted(keys - set(_DIMENSIONS) - {_SPLIT}):
        return f"a row per {', '.join(others)} too"
    return "" if table.n_rows else "no rows"


def write_netcdf(
    connection: duckdb.DuckDBPyConnection, bundle: Bundle, table: Table, path: Path
) -> None:
    """Write a table that `fits_netcdf`.

    Args:
        connection: the warehouse.
        bundle: what the table is part of, for the global attributes.
        table: the table.
        path: file to write.
    """
    rows = connection.sql(table.query).pl()
    cells = connection.sql(
        "select gridcell_id, grid_row, grid_col, latitude, longitude from dim_gridcell"
        " order by grid_row, grid_col"
    ).pl()
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        file.setncatts(_global_attributes(bundle, table))
        _write_cells(file, cells)
        axes, places = {"gridcell": len(cells)}, {}
        for column in table.key:
            if column == _SPLIT:
                continue
            name = _DIMENSIONS[column]
            if name == "gridcell":
                labels = cells["gridcell_id"]
            else:
                labels = rows[column].unique().sort()
                axes[name] = len(labels)
                described = next(c for c in table.columns if c.name == column)
                is_daily = bool(_CELL_METHODS.keys() & {c.name for c in table.columns})
                _write_axis(file, name, labels, described, has_bounds=is_daily)
            order = pl.Series(range(len(labels)), dtype=pl.Int32)
            places[name] = rows[column].replace_strict(labels, order).to_numpy()
        names = [name for name in dict.fromkeys(_DIMENSIONS.values()) if name in places]
        # of a cell itself: `_write_cells` has them
        values = [c for c in table.columns if not c.is_key and c.name not in cells.columns]
        parts = rows[_SPLIT].unique().sort() if _SPLIT in table.key else [None]
        for part in parts:
            chosen = slice(None) if part is None else (rows[_SPLIT] == part).to_numpy()
            index = tuple(places[name][chosen] for name in names)
            for column in values:
                series = rows[column.name].filter(chosen) if part else rows[column.name]
                _write_variable(file, names, axes, index, column, series, part, values)


def _global_attributes(bundle: Bundle, table: Table) -> dict[str, str]:
    build = bundle.build
    soil = [p for p in bundle.products if p["quantity"] == "soil_moisture"]
    attributes = {
        "Conventions": "CF-1.8",
        "title": f"{table.name}: {bundle.study.title}",
        "summary": table.description,
        "institution": bundle.owner,
        "source": "; ".join(f"{p['product']} ({p['role']}): {p['source']}" for p in soil),
        "history": f"{build['finished_at']:%Y-%m-%dT%H:%M:%SZ} skillhouse build {build['build_id']}",
        "references": "; ".join(citations(bundle)) or "see README.md of the bundle",
        "skillhouse_version": bundle.version,
        "study": bundle.study.study,
    }
    if build["is_synthetic"]:
        attributes["comment"] = SYNTHETIC
    return attributes


def _write_cells(file: netCDF4.Dataset, cells: pl.DataFrame) -> None:
    """The list of cells: key, row, column, latitude, longitude, x, y and the projection."""
    file.createDimension("gridcell", len(cells))
    crs = file.createVariable("crs", "i4")
    crs.setncatts({**CRS.from_epsg(6933).to_cf(), "long_name": "EASE-Grid 2.0, EPSG:6933"})
    _write_text(
        file,
        "gridcell_id",
        "gridcell",
        cells["gridcell_id"],
        {"long_name": "cell of the 9 km EASE-Grid 2.0"},
    )
    row, col = cells["grid_row"].to_numpy(), cells["grid_col"].to_numpy()
    for name, kind, values, attributes in (
        ("lat", "f8", cells["latitude"], ("latitude", "degrees_north", "latitude of the centre")),
        ("lon", "f8", cells["longitude"], ("longitude", "degrees_east", "longitude of the centre")),
        (
            "x",
            "f8",
            M09.x0_m + (col + 0.5) * M09.cell_m,
            ("projection_x_coordinate", "m", "easting"),
        ),
        (
            "y",
            "f8",
            M09.y0_m - (row + 0.5) * M09.cell_m,
            ("projection_y_coordinate", "m", "northing"),
        ),
        ("grid_row", "i4", row, (None, "1", "row of the grid, 0-based from the north")),
        ("grid_col", "i4", col, (None, "1", "column of the grid, 0-based from the west")),
    ):
        variable = file.createVariable(name, kind, ("gridcell",), zlib=True)
        standard, units, long_name = attributes
        variable.setncatts({"units": units, "long_name": long_name})
        if standard:
            variable.standard_name = standard
        variable[:] = np.asarray(values)


def _write_axis(
    file: netCDF4.Dataset, name: str, labels: pl.Series, column: Column, *, has_bounds: bool
) -> None:
    file.createDimension(name, len(labels))
    if name != "time":
        _write_text(file, column.name, name, labels, {"long_name": column.description})
        return
    is_day = labels.dtype == pl.Date
    units = f"days since {_EPOCH}" if is_day else f"seconds since {_EPOCH}"
    time = file.createVariable("time", "i4" if is_day else "f8", ("time",), zlib=True)
    time.setncatts(
        {
            "standard_name": "time",
            "long_name": "UTC day" if is_day else "UTC time",
            "units": units,
            "calendar": "standard",
            "axis": "T",
        }
    )
    if not is_day:
        time[:] = labels.dt.epoch("us").to_numpy() / 1e6
        return
    numbers = labels.to_physical().to_numpy()
    time[:] = numbers
    if not has_bounds:
        return
    time.bounds = "time_bnds"
    file.createDimension("bnds", 2)
    bounds = file.createVariable("time_bnds", "i4", ("time", "bnds"), zlib=True)
    bounds[:] = np.stack([numbers, numbers + 1], axis=1)


def _write_text(
    file: netCDF4.Dataset, name: str, dimension: str, texts: pl.Series, attributes: dict[str, str]
) -> None:
    """Text as characters, which older readers know too."""
    encoded = np.array([text.encode() for text in texts], dtype="S")
    length = file.createDimension(f"{name}_length", encoded.dtype.itemsize)
    variable = file.createVariable(name, "S1", (dimension, length.name), zlib=True)
    variable[:] = encoded.view("S1").reshape(len(encoded), -1)
    variable.setncatts(attributes | {"_Encoding": "utf-8"})


def _write_variable(
    file: netCDF4.Dataset,
    names: list[str],
    axes: dict[str, int],
    index: tuple[np.ndarray, ...],
    column: Column,
    series: pl.Series,
    part: str | None,
    beside: list[Column],
) -> None:
    """One column as an array; absent rows and nulls are fill values."""
    attributes: dict[str, Any] = {"long_name": column.description}
    unit = column.unit or "1"
    if part:  # a metric's name ends with its unit
        unit = ("m3 m-3" if part.endswith("_m3m3") else "1") if unit == f"per {_SPLIT}" else unit
        attributes["long_name"] = f"{part}: {column.description}"
    filled, kind, fill = _stored(series, column, attributes)
    if column.type not in ("VARCHAR", "BOOLEAN", "DATE"):
        attributes["units"] = _UNITS.get(unit, unit)
    if standard := _STANDARD_NAMES.get(column.name):
        attributes["standard_name"] = standard
    if "time" in names and (method := _CELL_METHODS.get(column.name)):
        attributes["cell_methods"] = method
    present = {c.name for c in beside}
    ancillary = [f"n_obs_{column.name.split('_')[0]}", "status"]
    if found := [n for n in ancillary if n in present and column.name not in (n, "status")]:
        prefixed = [_variable_name(n, part) for n in found]
        attributes["ancillary_variables"] = " ".join(prefixed)
    labels = [n.removeprefix("n_") for n in names if n.startswith("n_")]
    attributes["coordinates"] = " ".join([*labels, "lat", "lon", "x", "y", "gridcell_id"])
    attributes["grid_mapping"] = "crs"
    shape = tuple(axes[name] for name in names)
    limits = {"time": _CHUNK_TIMES, "gridcell": _CHUNK_CELLS}
    chunks = tuple(min(size, limits.get(name, 1)) for name, size in zip(names, shape, strict=True))
    variable = file.createVariable(
        _variable_name(column.name, part),
        kind,
        names,
        zlib=True,
        complevel=4,
        shuffle=True,
        chunksizes=chunks,
        fill_value=fill,
    )
    variable.setncatts(attributes)
    array = np.full(shape, fill, dtype=kind)
    array[index] = filled
    variable.set_auto_mask(False)
    variable[:] = array


def _variable_name(column: str, part: str | None) -> str:
    if part is None:
        return column
    return part if column == "value" else f"{part}_{column}"


def _stored(
    series: pl.Series, column: Column, attributes: dict[str, Any]
) -> tuple[np.ndarray, str, Any]:
    """A column's numbers with nulls filled, their NetCDF type and the fill; flags name their meanings."""
    if column.type == "VARCHAR":
        meanings = series.drop_nulls().unique().sort()
        codes = pl.Series(range(len(meanings)), dtype=pl.Int32)
        if len(meanings):
            _flag(attributes, [re.sub(r"[^\w.+-]+", "_", m) for m in meanings], np.int32)
        numbers = series.replace_strict(meanings, codes, default=None)
        return numbers.fill_null(int(_INT_FILL)).to_numpy(), "i4", _INT_FILL
    if column.type == "BOOLEAN":
        _flag(attributes, ["false", "true"], np.int8)
        return series.cast(pl.Int8).fill_null(-1).to_numpy(), "i1", np.int8(-1)
    if column.type == "DATE":
        attributes |= {"units": f"days since {_EPOCH}", "calendar": "standard"}
        return series.to_physical().fill_null(int(_INT_FILL)).to_numpy(), "i4", _INT_FILL
    if series.dtype.is_integer():
        return series.cast(pl.Int32).fill_null(int(_INT_FILL)).to_numpy(), "i4", _INT_FILL
    kind = "f4" if series.dtype == pl.Float32 else "f8"
    fill = np.dtype(kind).type(netCDF4.default_fillvals[kind])
    return series.fill_null(float(fill)).to_numpy(), kind, fill


def _flag(attributes: dict[str, Any], meanings: list[str], kind: type) -> None:
    attributes["flag_values"] = np.arange(len(meanings), dtype=kind)
    attributes["flag_meanings"] = " ".join(meanings)

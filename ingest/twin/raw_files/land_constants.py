"""The SPL4SMLM-like granule: constants of the land model and of the Tb model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ingest.twin.radiative_transfer import B_MODEL, OMEGA_MODEL, W_DRY, W_WET
from ingest.twin.raw_files.granules import EPOCH, Field, plane, template, write_granule
from ingest.twin.soil_column import hydraulics
from ingest.twin.world import World

GROUP = "Land-Model-Constants_Data"
FILE_NAME = "SMAP_L4_SM_lmc_00000000T000000_Vv4030_001.h5"


def write_land_constants(world: World, folder: Path) -> int:
    """Write the one lmc granule; returns 1."""
    folder.mkdir(parents=True, exist_ok=True)
    model, climate, here = world.model, world.climate, world.cells.place
    porosity, _, wilting, _ = hydraulics.py_func(model.clay)
    one = np.ones(here.size)
    # name, values, units, valid_min, valid_max; the twin's roughness starts to fall at a drier soil
    # than the product's documented minimum of 0.1, so the file states its own range
    rows = [
        ("cell_land_fraction", one, "dimensionless", 0.0, 1.0),
        ("cell_elevation", 1800 * (1 - climate.wetness[here]) + 100, "m", -500.0, 6000.0),
        ("clsm_dzsf", 0.05 * one, "m", 0.05, 0.05),
        ("clsm_dzrz", one, "m", 1.0, 1.0),
        ("clsm_dzpr", 1.33 * one, "m", 1.33, 10.0),
        ("clsm_poros", porosity, "m3 m-3", 0.3, 0.9),
        ("clsm_wp", wilting, "m3 m-3", 0.001, 0.3),
        ("clsm_cdcr1", 400 * porosity, "kg m-2", 30.0, 3000.0),
        ("clsm_cdcr2", 1000 * porosity, "kg m-2", 200.0, 6000.0),
        ("mwrtm_vegcls", 10 * one, "dimensionless", 1, 16, "u4"),
        ("mwrtm_soilcls", 1 + np.rint(100 * model.clay), "dimensionless", 1, 253, "u4"),
        ("mwrtm_sand", 0.6 * (1 - model.clay), "dimensionless", 0.0, 1.0),
        ("mwrtm_clay", model.clay, "dimensionless", 0.0, 1.0),
        ("mwrtm_poros", porosity * model.porosity_ratio, "m3 m-3", 0.3, 0.9),
        ("mwrtm_rghhmin", model.h_min, "dimensionless", 0.0, 2.0),
        ("mwrtm_rghhmax", model.h_max, "dimensionless", 0.0, 3.0),
        ("mwrtm_rghwmin", W_DRY * one, "m3 m-3", 0.0, 0.4),
        ("mwrtm_rghwmax", W_WET * one, "m3 m-3", 0.2, 0.9),
        ("mwrtm_rghnrh", one, "dimensionless", 0.0, 1.75),
        ("mwrtm_rghnrv", 0 * one, "dimensionless", -1.0, 2.0),
        ("mwrtm_rghpolmix", 0 * one, "dimensionless", 0.0, 0.0),
        ("mwrtm_omega", OMEGA_MODEL * one, "dimensionless", 0.0, 0.3),
        ("mwrtm_bh", B_MODEL * one, "dimensionless", 0.0, 0.7),
        ("mwrtm_bv", B_MODEL * one, "dimensionless", -0.15, 0.85),
        ("mwrtm_lewt", one, "kg m-2", 0.0, 2.0),
    ]
    fields = tuple(
        Field(GROUP, name, units, low, high, name.replace("_", " "), *dtype)
        for name, _, units, low, high, *dtype in rows
    )
    chunks = {
        field.path: plane(world.settings, here, row[1], field)
        for field, row in zip(fields, rows, strict=True)
    }
    write_granule(folder / FILE_NAME, template(world.settings, fields), chunks, EPOCH)
    return 1

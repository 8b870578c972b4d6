"""A study is one YAML file: everything a scientist may decide, validated on load.

Each rule's description is the reason of its default; `settings_table` hands key, value, default and reason on to the
warehouse (`meta_study`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ingest.reader import PROJECT_ROOT, STATE_ROOT, BadInput, SourceSettings
from ingest.sources.cgls_lai import CglsLai
from ingest.sources.flat_binary_grid import FlatBinaryGrid
from ingest.sources.geosldas_nc4 import GeosldasNc4
from ingest.sources.gridded_flux import GriddedFlux
from ingest.sources.gridded_netcdf import GriddedNetcdf
from ingest.sources.hwsd import HwsdV1, HwsdV2
from ingest.sources.ismn_archive import IsmnArchive
from ingest.sources.mcd12q1 import Mcd12q1
from ingest.sources.spl4sm_aup import Spl4smAup
from ingest.sources.spl4sm_gph import Spl4smGph
from ingest.sources.spl4sm_lmc import Spl4smLmc
from ingest.sources.station_csv import StationCsv
from ingest.twin.settings import TwinSettings

_NAME = r"^[a-z][a-z0-9_]*$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Period(_Strict):
    """First and last UTC day, both included."""

    start: dt.date
    end: dt.date

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.end < self.start:
            raise ValueError(f"end {self.end} lies before start {self.start}")
        return self


class Box(_Strict):
    """A latitude/longitude box in degrees; its edges belong to it."""

    south: float = Field(ge=-90, le=90)
    north: float = Field(ge=-90, le=90)
    west: float = Field(ge=-180, le=180)
    east: float = Field(ge=-180, le=180)

    @model_validator(mode="after")
    def _ordered(self) -> Box:
        if self.north <= self.south or self.east <= self.west:
            raise ValueError("north must lie above south and east beyond west")
        return self


class Insitu(_Strict):
    """The stations."""

    title: str = ""
    source: Annotated[StationCsv | IsmnArchive, Field(discriminator="format")]
    rzsm_depth_m: float = Field(
        gt=0, le=3, description="depth of the in situ root zone: 0.5 (CASMOS layers), 1.0 (ISMN)"
    )


class Product(_Strict):
    """A soil-moisture product under evaluation."""

    title: str = ""
    version: str = ""
    role: Literal["baseline", "candidate"]
    source: Annotated[Spl4smGph | GriddedNetcdf | GeosldasNc4, Field(discriminator="format")]
    min_samples_per_day: int | None = Field(
        default=None, ge=1, description="null: 75 % of the samples a day has, rounded up"
    )
    rzsm_depth_m: float = Field(
        default=1.0, gt=0, description="depth of the root zone made from a product's soil layers"
    )

    @property
    def samples_per_day(self) -> int:
        """Values that a full day has; SPL4SM granules come eight a day."""
        return getattr(self.source, "samples_per_day", 8)

    @property
    def min_samples(self) -> int:
        return self.min_samples_per_day or math.ceil(0.75 * self.samples_per_day)


#: quantity -> formats that can give it
QUANTITIES: dict[str, tuple[type[SourceSettings], ...]] = {
    "precipitation": (GriddedFlux, FlatBinaryGrid),
    "latent_heat": (GriddedFlux,),
    "leaf_area_index": (CglsLai,),
    "soil_texture": (HwsdV1, HwsdV2),
}


class Reference(_Strict):
    """A data set that the candidate's forcing, fluxes or parameters are measured against."""

    title: str = ""
    version: str = ""
    quantity: Literal["precipitation", "latent_heat", "leaf_area_index", "soil_texture"]
    role: Literal["benchmark", "alternative"]
    source: Annotated[
        GriddedFlux | FlatBinaryGrid | CglsLai | HwsdV1 | HwsdV2, Field(discriminator="format")
    ]
    precip_day_offset: Literal[-1, 0, 1] = Field(
        default=0, description="days added to the benchmark's days; see fct_precipitation_lag"
    )

    @model_validator(mode="after")
    def _gives_its_quantity(self) -> Reference:
        given = getattr(self.source, "quantity", self.quantity)
        if not isinstance(self.source, QUANTITIES[self.quantity]) or given != self.quantity:
            raise ValueError(f"source format {self.source.format} does not give {self.quantity}")
        return self


class TbInnovation(_Strict):
    """Assimilated and forecast brightness temperature of the candidate."""

    source: Spl4smAup


class LandConstants(_Strict):
    """Parameters of the candidate's land and microwave models."""

    source: Spl4smLmc


class LandCover(_Strict):
    """Land cover at the stations and in their cells."""

    source: Mcd12q1


class Rules(_Strict):
    """Choices that the published study leaves open, each with its default and the reason."""

    min_hours: int = Field(12, ge=1, le=24, description="half a day of hourly station readings")
    sm_max: float = Field(
        0.60, gt=0, le=1, description="m3 m-3; drops the physically impossible only, 1.0 disables"
    )
    qc_plateau: bool = Field(
        False,
        description="the paper applies no outlier rule; true drops 10 equal daily values in a row",
    )
    cell_mean: Literal["bias_adjusted", "simple"] = Field(
        "bias_adjusted", description="no jump when one of several stations drops out"
    )
    clim_window: int = Field(31, ge=1, le=365, description="days, odd; as published")
    clim_min_samples: int = Field(10, ge=1, description="GMAO asks 4 a year, rounded up")
    cross_mask: bool = Field(
        False,
        description="climatology from each series' own valid days, before any common-day mask",
    )
    min_pairs: int = Field(100, ge=4, description="fewer common days give unstable ranks")
    members: int = Field(1000, ge=100, description="bootstrap members, as published")
    block_days: int | Literal["auto"] = Field(
        30, description="soil-moisture anomalies remember weeks; auto: Politis-White per cell"
    )
    level: float = Field(0.95, gt=0.5, lt=1, description="of every interval")
    headline_interval: Literal["block", "iid"] = Field(
        "block", description="iid days overstate significance of autocorrelated series"
    )
    cp_alpha: Literal["ssm_over_rzsm", "rzsm_over_ssm"] = Field(
        "ssm_over_rzsm", description="ratio of standard deviations in the coupling, as printed"
    )
    ivd_lag_days: Literal[1, 2, 3] = Field(1, description="lag of the instruments, as published")
    ivd_series: Literal["anomaly", "raw"] = Field(
        "anomaly", description="a common seasonal cycle inflates the skill of raw series"
    )
    h_use_porosity_scaling: bool = Field(
        True, description="GEOSldas scales soil moisture to the microwave model's porosity"
    )
    omf_combine: Literal["rms_species", "daily_mean", "h", "v"] = Field(
        "rms_species", description="pooled over polarization and orbit, each about its own mean"
    )
    precip_series: Literal["raw", "anomaly"] = Field(
        "raw", description="a climatology would break the ties of dry days"
    )
    clay: Literal["abs", "signed"] = Field("abs", description="magnitude of heterogeneity")
    lai_clim_min_samples: int = Field(3, ge=1, description="6 dekads of two years fall in a window")
    forest_trees: int = Field(
        100, ge=1, description="the repeated runs average the forest's own noise"
    )
    forest_max_features: float = Field(
        1.0, gt=0, le=1, description="share of the factors tried at a split"
    )
    forest_min_leaf: int = Field(3, ge=1, description="distinct cells in a leaf")
    forest_runs: int = Field(
        50, ge=2, description="importance of the base, cross-validation of its gain; as published"
    )
    forest_runs_beside: int = Field(
        10, ge=2, description="every other target and variant, the null, the spatial folds"
    )
    forest_folds: int = Field(10, ge=2, description="as published")
    box_groups: int = Field(5, ge=2, description="as published")
    box_drop: float = Field(0.20, ge=0, lt=0.9, description="worst share left out, as published")
    box_bins: Literal["equal_count", "equal_width"] = Field(
        "equal_count", description="five binned groups of equal weight"
    )
    box_coupling: Literal["absolute", "signed"] = Field(
        "absolute", description="which end of the coupling error counts as the worst"
    )
    spatial_block_km: float = Field(
        200, ge=9.009, description="size of the blocks of cells resampled for intervals over cells"
    )

    @field_validator("clim_window")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"{value} is even; a centred window has an odd number of days")
        return value

    @model_validator(mode="after")
    def _block_fits(self) -> Rules:
        if isinstance(self.block_days, int) and self.block_days > self.min_pairs // 2:
            raise ValueError(
                f"block_days {self.block_days} is more than half of min_pairs {self.min_pairs}:"
                " blocks as long as a series give no interval; lower one or raise the other"
            )
        return self

    @field_validator("block_days")
    @classmethod
    def _positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"{value} is not a number of days; give 1 or more, or auto")
        return value


class Study(_Strict):
    """One validated study file."""

    study: str = Field(pattern=_NAME)
    title: str
    synthetic: bool = False
    period: Period
    grid: Literal["M09"] = "M09"
    region: Box | None = None
    regions: dict[str, Box] = {}
    seed: int = Field(ge=0)
    insitu: Insitu
    products: dict[str, Product]
    references: dict[str, Reference] = {}
    tb_innovation: TbInnovation | None = None
    land_constants: LandConstants | None = None
    land_cover: LandCover | None = None
    rules: Rules = Rules()
    twin: TwinSettings | None = None

    @model_validator(mode="after")
    def _roles(self) -> Study:
        for role in ("baseline", "candidate"):
            named = [k for k, p in self.products.items() if p.role == role]
            if len(named) != 1:
                raise ValueError(
                    "products: exactly one has role baseline and one candidate,"
                    f" found {', '.join(named) or 'none'} for {role}"
                )
        if self.twin is not None and not self.synthetic:
            raise ValueError("a study with the key twin is synthetic: say synthetic: true")
        names = [*self.products, *self.references]
        taken = {"insitu", "tb_innovation", "land_constants", "land_cover"}
        if repeated := {n for n in names if names.count(n) > 1 or n in taken}:
            raise ValueError(f"the name {sorted(repeated)[0]} is used twice, choose another")
        for name in names:
            if not re.fullmatch(_NAME, name):
                raise ValueError(f"name {name!r}: lower-case letters, digits and _ only")
        for quantity in QUANTITIES:
            roles = [r.role for r in self.references.values() if r.quantity == quantity]
            if roles and roles.count("benchmark") != 1:
                raise ValueError(
                    f"references: exactly one {quantity} has role benchmark,"
                    f" found {roles.count('benchmark')}"
                )
        return self

    @property
    def folder(self) -> Path:
        """Where everything generated for this study lives."""
        return STATE_ROOT / "data" / self.study

    @property
    def hash(self) -> str:
        """Hash of the settings, whatever the file's layout and comments."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(self.portable(text).encode()).hexdigest()

    def portable(self, text: str) -> str:
        """A text with the study's own folder written as `${STUDY_DATA}`, whatever machine it is on."""
        return text.replace(str(self.folder), "${STUDY_DATA}")

    def product(self, role: str) -> str:
        """Key of the product with a role."""
        return next(key for key, product in self.products.items() if product.role == role)

    def sources(self) -> dict[str, tuple[str, SourceSettings]]:
        """Lake folder -> (study key, settings) of every source of raw files."""
        found: dict[str, tuple[str, SourceSettings]] = {
            "insitu": ("insitu.source", self.insitu.source)
        }
        for key, product in self.products.items():
            found[key] = (f"products.{key}.source", product.source)
        for key, reference in self.references.items():
            found[key] = (f"references.{key}.source", reference.source)
        for key in ("tb_innovation", "land_constants", "land_cover"):
            if part := getattr(self, key):
                found[key] = (f"{key}.source", part.source)
        return found


def study_path(name: str) -> Path:
    """File of a study given by name (`twin`) or path (`elsewhere/mine.yml`)."""
    if name.endswith((".yml", ".yaml")):
        return (PROJECT_ROOT / name).resolve()
    return PROJECT_ROOT / "studies" / f"{name}.yml"


def load_study(name: str) -> Study:
    """Read and validate a study file.

    Raises:
        BadInput: naming the file, the key, what was found and what is allowed.
    """
    path = study_path(name)
    if not path.exists():
        known = sorted(p.stem for p in (PROJECT_ROOT / "studies").glob("*.yml"))
        raise BadInput(
            "no such study file",
            file=path,
            key="STUDY",
            remedy=f"known studies: {', '.join(known)}; or give the path of a .yml file",
            reason="no_study",
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise BadInput(
            f"not UTF-8 text ({error.reason} at byte {error.start})",
            file=path,
            remedy="save it as UTF-8",
            reason="invalid_study",
        ) from error
    except yaml.YAMLError as error:
        raise BadInput(f"not valid YAML: {error}", file=path, reason="invalid_study") from error
    if not isinstance(content, dict) or not content:
        raise BadInput(
            f"the study has no keys: a {type(content).__name__}"
            if content
            else "the study is empty",
            file=path,
            remedy="start from studies/twin.yml",
            reason="invalid_study",
        )
    content = _with_study_data(content, str(STATE_ROOT / "data" / path.stem))
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        raise BadInput(
            "\n".join(_explain(e) for e in error.errors()),
            file=path,
            remedy="every key is explained in docs/study-file.md",
            reason="invalid_study",
        ) from error
    if study.study != path.stem:
        raise BadInput(
            f"found {study.study!r}",
            file=path,
            key="study",
            remedy=f"it must equal the file's name: {path.stem}",
            reason="invalid_study",
        )
    return study


def _with_study_data(item: Any, folder: str) -> Any:
    """Replace `${STUDY_DATA}`, the study's own folder, in every text of a study file."""
    if isinstance(item, dict):
        return {key: _with_study_data(value, folder) for key, value in item.items()}
    if isinstance(item, list):
        return [_with_study_data(value, folder) for value in item]
    return item.replace("${STUDY_DATA}", folder) if isinstance(item, str) else item


def _explain(error: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    found = error.get("input")
    shown = "" if isinstance(found, dict) else f" (found {found!r})"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "unknown key"
    return f"key {key or 'study'}: {message}{shown}"


def settings_table(study: Study) -> pl.DataFrame:
    """One row per setting: key, value, default, reason."""
    rows: list[dict[str, str | None]] = []
    _flatten(study, "", rows)
    for row in rows:
        row["value"] = study.portable(row["value"]) if row["value"] else row["value"]
    schema = {"key": pl.String, "value": pl.String, "default": pl.String, "reason": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("key")


def _flatten(model: BaseModel, prefix: str, rows: list) -> None:
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        children = value if isinstance(value, dict) else {"": value}
        for child, item in children.items():
            key = prefix + name + (f".{child}" if child else "")
            if isinstance(item, BaseModel):
                _flatten(item, f"{key}.", rows)
                continue
            default = None if info.is_required() else info.get_default(call_default_factory=True)
            simple = not isinstance(default, BaseModel | dict)
            rows.append(
                {
                    "key": key,
                    "value": _text(item),
                    "default": _text(default) if simple else None,
                    "reason": info.description,
                }
            )


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        plain = [v.model_dump(mode="json") if isinstance(v, BaseModel) else v for v in value]
        return json.dumps(plain, default=str)
    return str(value)

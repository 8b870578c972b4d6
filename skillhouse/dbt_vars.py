"""What the SQL models are told about a study: paths, periods, rules and the shape of each source's lake tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingest.sources.gridded_netcdf import GriddedNetcdf
from ingest.study import QUANTITIES, Product, Reference, Study


def dbt_vars(study: Study, lake: Path) -> dict[str, Any]:
    """The `--vars` of a dbt run."""
    source = study.insitu.source
    return {
        "lake": str(lake),
        "reuse": str(study.folder / "reuse"),
        "study": {
            "study": study.study,
            "synthetic": study.synthetic,
            "seed": study.seed,
            "period": study.period.model_dump(mode="json"),
            "region": study.region.model_dump() if study.region else None,
            "regions": {name: box.model_dump() for name, box in study.regions.items()},
            "rules": study.rules.model_dump(),
            "sources": list(study.sources()),
            "insitu": {
                "title": study.insitu.title,
                "format": source.format,
                "time_label": getattr(source, "time_label", "instant"),
                "layers": [
                    {"top_m": layer.top_m, "bottom_m": layer.bottom_m}
                    for layer in getattr(source, "layers", [])
                ],
                "rzsm_depth_m": study.insitu.rzsm_depth_m,
            },
            "roles": {
                "insitu": "insitu",
                "baseline": study.product("baseline"),
                "candidate": study.product("candidate"),
            },
            "references": {
                quantity: [
                    _reference(key, reference)
                    for key, reference in study.references.items()
                    if reference.quantity == quantity
                ]
                for quantity in QUANTITIES
            },
            "tb_innovation": study.tb_innovation is not None,
            "land_constants": study.land_constants is not None,
            "land_cover": study.land_cover is not None,
            "candidate_fields": list(
                getattr(study.products[study.product("candidate")].source, "fields", [])
            ),
            "products": [_product(key, product) for key, product in study.products.items()],
        },
    }


def _reference(key: str, reference: Reference) -> dict[str, Any]:
    return {
        "key": key,
        "role": reference.role,
        "title": reference.title,
        "version": reference.version,
        "day_offset": reference.precip_day_offset,
        "days_per_step": getattr(reference.source, "days_per_step", 1),
        "hourly": getattr(reference.source, "layout", "") == "cma_hourly",
    }


def _product(key: str, product: Product) -> dict[str, Any]:
    source = product.source
    described: dict[str, Any] = {
        "key": key,
        "role": product.role,
        "title": product.title,
        "version": product.version,
        "min_samples": product.min_samples,
        "samples_per_day": product.samples_per_day,
        "time_label": getattr(source, "time_label", "window_centre"),
        "on_grid": not isinstance(source, GriddedNetcdf),
    }
    if isinstance(source, GriddedNetcdf):
        layers = source.soil_moisture
        shallowest = min(range(len(layers)), key=lambda i: layers[i].top_m)
        described["surface_layer"] = shallowest + 1
        described["rzsm_depth_m"] = product.rzsm_depth_m
        described["root_zone"] = _root_zone(layers, product.rzsm_depth_m)
    return described


def _root_zone(layers: list, depth_m: float) -> list[dict[str, float]]:
    """Thickness of each layer inside 0..depth_m; empty when the layers do not fill the root zone."""
    inside = [
        {"index": i, "thickness_m": round(min(layer.bottom_m, depth_m) - layer.top_m, 6)}
        for i, layer in enumerate(layers, start=1)
        if layer.top_m < depth_m
    ]
    filled = sum(part["thickness_m"] for part in inside)
    return inside if abs(filled - depth_m) < 1e-6 else []

"""Asset and check specs made from contracts, so that each asset's page says what its contract says."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from refrig_assets.contracts import Contract

OWNERS = ["team:data-platform"]


def asset_spec(
    contract: Contract,
    *,
    deps: Sequence[str | dg.AssetDep] = (),
    condition: dg.AutomationCondition[Any] | None = None,
    partitions: dg.PartitionsDefinition | None = None,
    key: str | None = None,
    kinds: set[str] | None = None,
    description: str | None = None,
) -> dg.AssetSpec:
    return dg.AssetSpec(
        key or contract.name,
        deps=list(deps),
        description=description or describe(contract),
        group_name=contract.group,
        owners=OWNERS,
        kinds=kinds or {"polars", "deltalake"},
        tags={"contract": contract.code.replace("-", "none").replace("+", ".plus"), "layer": contract.group},
        automation_condition=condition,
        partitions_def=partitions,
        metadata=definition_metadata(contract),
    )


def describe(contract: Contract) -> str:
    """The contract as an asset's description."""
    parts = [contract.description, f"Contract {contract.code}." if contract.code != "-" else ""]
    if contract.key:
        parts.append(f"Key: {', '.join(contract.key)}.")
    if contract.service_levels:
        parts.append("Service levels:\n" + "\n".join(f"- {level}" for level in contract.service_levels))
    return "\n\n".join(p for p in parts if p)


def definition_metadata(contract: Contract) -> dict[str, Any]:
    return {"dagster/column_schema": column_schema(contract), "contract": contract.code}


def column_schema(contract: Contract) -> dg.TableSchema:
    columns = []
    for name, column in contract.columns.items():
        limits = column.metadata or {}
        told = [
            f"{sign} {limits[k]}" for k, sign in (("ge", ">="), ("gt", ">"), ("le", "<=")) if limits.get(k) is not None
        ]
        unit = contract.unit(name)
        columns.append(
            dg.TableColumn(
                name,
                str(contract.dtypes[name]),
                description=f"{column.description}{f' [{unit}]' if unit else ''}",
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable, unique=contract.key == (name,), other=told
                ),
                tags={"unit": unit} if unit.isascii() and unit.isalpha() else {},
            )
        )
    return dg.TableSchema(columns)


def check_spec(asset: str, name: str, description: str, *, blocking: bool = False) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(name, asset=asset, description=description, blocking=blocking)

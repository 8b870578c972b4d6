{#-
    One row per model (variant x target x layer) and cell with a valid target: the target's value and the eight
    factors. A variant that changes skill or factors takes them from int_variant_*; all else is the base's.
    block_significant keeps the cells whose gain is significant by the block bootstrap.
-#}
{% set targets = ('delta_r', 'r_baseline', 'r_candidate') %}
with skill as (
    select
        'base' as variant,
        gridcell_id,
        layer,
        r_baseline,
        r_candidate,
        delta_r,
        is_significant_block,
    from {{ ref('fct_skill_gain') }}
    where status = 'ok'

    union all

    select
        variant,
        gridcell_id,
        layer,
        r_baseline,
        r_candidate,
        delta_r,
        null as is_significant_block,
    from {{ ref('int_variant_skill_gain') }}
    where status = 'ok'
),

factors as (
    select
        'base' as variant,
        *,
    from {{ ref('fct_control_factor') }}

    union all

    select * from {{ ref('int_variant_control_factor') }}
),

variant as (
    select * from (
        values
        ('base', 'base', 'base'),
        ('pearson', 'pearson', 'base'),
        ('precipitation_alternative', 'base', 'precipitation_alternative'),
        ('representative_stations', 'representative_stations', 'representative_stations'),
        ('soil_alternative', 'base', 'soil_alternative'),
        ('block_significant', 'base', 'base')
    ) as variant (variant, skill_variant, factor_variant)
)
{% for target in targets %}
select
    variant.variant,
    '{{ target }}' as target,
    skill.layer,
    gridcell_id,
    cell.grid_row,
    cell.grid_col,
    skill.{{ target }} as value,
    factors.* exclude (variant, gridcell_id),
from variant
inner join skill on variant.skill_variant = skill.variant
inner join factors using (gridcell_id)
inner join {{ ref('int_gridcell') }} as cell using (gridcell_id)
where
    variant.factor_variant = factors.variant
    and (variant.variant <> 'block_significant' or skill.is_significant_block)
{% if not loop.last %}union all{% endif %}
{%- endfor %}

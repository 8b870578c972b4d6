{#-
    Standard deviation (ddof 1) of Tb innovation per cell. rms_species: each polarization and orbit about its own
    mean, at least 30 values, pooled as sqrt(sum n var / sum n); flag 0 (both orbits averaged) is left out. h, v: the
    same of one polarization. daily_mean: of the UTC day's mean over polarizations and overpasses.
-#}
{% set combine = var('study').rules.omf_combine %}
with valid as (
    select
        gridcell_id,
        polarization,
        orbit,
        observed_at,
        innovation_k,
    from {{ ref('fct_tb_innovation') }}
    where orbit in (1, 2)
    {%- if combine in ('h', 'v') %}
        and polarization = '{{ combine }}'
    {%- endif %}
),
{% if combine == 'daily_mean' %}
species as (
    select
        gridcell_id,
        count(*) as n,
        var_samp(innovation_k order by obs_date) as variance_k2,
    from (
        select
            gridcell_id,
            observed_at::date as obs_date,
            avg(innovation_k order by observed_at, polarization) as innovation_k,
        from valid
        group by all
    )
    group by all
    having count(*) >= 30
)
{% else %}
species as (
    select
        gridcell_id,
        polarization,
        orbit,
        count(*) as n,
        var_samp(innovation_k order by observed_at) as variance_k2,
    from valid
    group by all
    having count(*) >= 30
)
{% endif %}
select
    gridcell_id,
    sum(n)::bigint as n_obs,
    {%- if combine == 'daily_mean' %}
    sqrt(any_value(variance_k2)) as tb_innovation_sd_k,
    {%- else %}
    sqrt(sum(n * variance_k2 order by polarization, orbit) / sum(n)) as tb_innovation_sd_k,
    {%- endif %}
from species
group by all

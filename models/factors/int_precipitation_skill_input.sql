{#-
    Daily precipitation of the candidate beside each reference, the reference taken `lag_days` later; raw totals, or
    their anomalies where precip_series says so.
-#}
{% set study = var('study') %}
{% set anomaly = study.rules.precip_series == 'anomaly' %}
with {% if anomaly -%}
climatology as (
    {{ circular_climatology(
        relation=ref('fct_daily_precipitation'),
        keys=['product', 'gridcell_id'],
        values=['precipitation_mm'],
        window_days=study.rules.clim_window,
        min_samples=study.rules.clim_min_samples,
    ) }}
),

{% endif -%}
series as (
    select
        day.product,
        day.gridcell_id,
        day.obs_date,
        {% if anomaly -%}
        day.precipitation_mm::double - climatology.precipitation_mm_climatology as value,
        {%- else -%}
        day.precipitation_mm::double as value,
        {%- endif %}
    from {{ ref('fct_daily_precipitation') }} as day
    {%- if anomaly %}
    left join climatology
        on day.product = climatology.product
        and day.gridcell_id = climatology.gridcell_id
        and climatology.day_index = {{ climatology_day('day.obs_date') }}
    {%- endif %}
),

-- each reference laid beside the candidate's days at every lag: one join on cell and day
shifted as (
    select
        product as reference,
        lag.lag_days,
        gridcell_id,
        obs_date - lag.lag_days as obs_date,
        value as reference_value,
    from series
    cross join (values (-1), (0), (1)) as lag (lag_days)
    where product <> '{{ study.roles.candidate }}' and value is not null
)

select
    shifted.reference,
    shifted.lag_days::varchar as lag_days,
    candidate.gridcell_id,
    candidate.obs_date,
    candidate.value as candidate,
    shifted.reference_value,
from series as candidate
inner join shifted
    on candidate.gridcell_id = shifted.gridcell_id and candidate.obs_date = shifted.obs_date
where candidate.product = '{{ study.roles.candidate }}' and candidate.value is not null

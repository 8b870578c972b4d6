{% set study = var('study') %}
{% set benchmark = study.references.latent_heat | selectattr('role', 'eq', 'benchmark') | list %}
with every as (
    select
        cell.gridcell_id,
        method.*,
    from {{ ref('int_gridcell') }} as cell
    cross join (
        values ('ivd', 1), ('ivd', 2), ('ivd', 3), ('ivs', {{ study.rules.ivd_lag_days }})
    ) as method (method, lag_days)
    where {{ 'true' if benchmark else 'false' }}
)

select
    '{{ study.roles.candidate }}' as candidate_product,
    '{{ benchmark[0].key if benchmark else '' }}' as benchmark_product,
    every.gridcell_id,
    every.method,
    every.lag_days,
    coalesce(pair.n_pairs, 0)::integer as n_pairs,
    pair.r_candidate,
    pair.r_squared_raw,
    pair.r_squared_capped,
    pair.is_capped,
    pair.r_benchmark,
    pair.ci_lower,
    pair.ci_upper,
    pair.sign::integer as sign,
    pair.error_autocorrelation_candidate,
    pair.error_autocorrelation_benchmark,
    {%- if benchmark and benchmark[0].days_per_step > 1 %}
    'benchmark_not_daily' as status,
    {%- else %}
    case
        when pair.status is not null then pair.status
        when every.gridcell_id not in (
            select station.gridcell_id
            from {{ ref('int_station') }} as station
            inner join {{ ref('int_latent_heat_box') }} using (station_id)
            where station.status = 'ok'
        ) then 'no_valid_box'
        else 'too_few_pairs'
    end as status,
    {%- endif %}
from every
left join {{ ref('int_instrumental_variables') }} as pair using (gridcell_id, method, lag_days)
order by every.gridcell_id, every.method, every.lag_days

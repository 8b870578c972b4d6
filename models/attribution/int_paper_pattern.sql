{#- where skill and factors are large or small; a pattern over fewer than 10 cells has no value -#}
{% set roles = var('study').roles %}
with skill as (
    select
        gridcell_id,
        layer,
        r_baseline,
        r_candidate,
        delta_r,
        (delta_r > 0 and is_significant_iid)::integer::double as improved_significant,
    from {{ ref('fct_skill_gain') }}
    where status = 'ok'
),

cell_value as (
    select
        gridcell_id,
        factor as variable,
        value,
    from (
        unpivot {{ ref('fct_control_factor') }}
        on columns(* exclude (gridcell_id))
        into name factor value value
    )

    union all

    select
        gridcell_id,
        target || ' ' || layer,
        value,
    from (
        unpivot skill
        on columns(* exclude (gridcell_id, layer))
        into name target value value
    )
),

placed as (
    select
        cell_value.*,
        cell.latitude,
        cell.longitude,
        greatest(0, least(1, 0.6 * (cell.longitude - 75) / 60 + 0.6 * (50 - cell.latitude) / 32))
            as southeast,
    from cell_value
    inner join {{ ref('dim_gridcell') }} as cell using (gridcell_id)
),

directed as (
    unpivot placed on latitude, longitude, southeast into name direction value position
),

gradient as ({{ rank_correlation('directed', ['variable', 'direction'], 'value', 'position') }}
),

of_region as (
    select
        stratum.stratum[9:] as region,
        cell_value.variable,
        avg(cell_value.value order by gridcell_id) as mean,
        count(*) as n,
    from cell_value
    inner join {{ ref('int_skill_stratum') }} as stratum using (gridcell_id)
    where stratum.stratum like 'region: %'
    group by all
    having count(*) >= 10
),

-- the south as the study's map divides it, and every other cell
southern as (
    select
        cell_value.variable,
        coalesce(south.region, 'rest') as region,
        avg(cell_value.value order by cell_value.gridcell_id) as mean,
        count(*) as n,
    from cell_value
    left join (
        select
            gridcell_id,
            stratum[9:] as region,
        from {{ ref('int_skill_stratum') }}
        where stratum in ('region: south_west', 'region: south_east')
    ) as south using (gridcell_id)
    where cell_value.variable = 'lai_mean'
    group by all
    having count(*) >= 10
),

fifth as (
    select
        fifth,
        avg(delta_r order by gridcell_id) as mean,
        count(*) as n,
    from (
        select
            gridcell_id,
            gain.value as delta_r,
            ntile(5) over (order by innovation.value, gridcell_id) as fifth,
        from cell_value as gain
        inner join cell_value as innovation using (gridcell_id)
        where gain.variable = 'delta_r ssm' and innovation.variable = 'tb_innovation_sd_k'
    )
    group by all
),

coupling_error as (
    select
        value,
        longitude > median(longitude) over () as is_east,
    from placed
    where variable = 'coupling_error'
),

measured as (
    select
        'gradient ' || direction || ' ' || variable as measure,
        rho as value,
        n as n_sample,
    from gradient

    union all

    select
        'largest_gradient ' || variable,
        case when count(rho) = 2 then max(abs(rho)) end,
        min(n),
    from gradient
    where direction in ('latitude', 'longitude')
    group by variable

    union all

    select
        'lead ' || one.region || ' ' || variable,
        one.mean - max(other.mean),
        min(one.n),
    from of_region as one
    inner join of_region as other using (variable)
    where one.region <> other.region
    group by one.region, variable, one.mean

    union all

    select
        'above_rest ' || variable || ' ' || part.region,
        part.mean - rest.mean,
        part.n,
    from southern as part
    inner join southern as rest using (variable)
    where part.region <> 'rest' and rest.region = 'rest'

    union all

    select
        'top_fifth_lead',
        max(mean) filter (where fifth = 5) - max(mean) filter (where fifth < 5),
        sum(n)::bigint,
    from fifth

    union all

    select
        'coupling_error_negative',
        avg((value < 0)::integer),
        count(*),
    from coupling_error

    union all

    select
        'coupling_error_positive_east',
        avg((value > 0)::integer) filter (where is_east),
        count(*) filter (where is_east),
    from coupling_error

    union all

    select
        'median latent_heat_skill',
        median(value),
        count(*),
    from cell_value
    where variable = 'latent_heat_skill'
)

select
    measure,
    case when n_sample >= 10 then value end as value,
    coalesce(n_sample, 0) as n_sample,
from measured
semi join {{ ref('int_paper_claim') }} as claim using (measure)
{%- for role in ('insitu', 'baseline') %}

union all

select
    'negative_coupling {{ role }}',
    avg((coupling < 0)::integer),
    count(coupling),
from {{ ref('fct_vertical_coupling') }}
where product = '{{ roles[role] }}'
{%- endfor %}

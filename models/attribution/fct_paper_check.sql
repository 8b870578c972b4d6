{#-
    Verdicts are for the published study's place only: a synthetic study, and one of another part of the world, keep
    their value without a verdict. "In China" is the box of the published study, 18 to 53.6 N, 73.5 to 135.1 E.
-#}
with measured as (
    select * from {{ ref('int_paper_sample') }}
    union all
    select * from {{ ref('int_paper_pattern') }}
    union all
    select * from {{ ref('int_paper_forest') }}
    union all
    select * from {{ ref('int_paper_group') }}
),

place as (
    select
        coalesce(
            avg((latitude between 18 and 53.6 and longitude between 73.5 and 135.1)::integer) > 0.5,
            false
        ) as is_china,
    from {{ ref('dim_gridcell') }}
),

compared as (
    select
        claim.*,
        measured.value,
        measured.n_sample,
        case
            when claim.tolerance is not null
                -- decimals are not exact in binary: 0.80 is within 0.77 +- 0.03
                then abs(measured.value - claim.published) <= claim.tolerance + 1e-9
            else
                coalesce(measured.value > claim.above, true)
                and coalesce(measured.value < claim.below, true)
        end as is_as_published,
    from {{ ref('int_paper_claim') }} as claim
    left join measured using (measure)
)

select
    claim,
    claim_number,
    where_published,
    quantity,
    unit,
    published,
    case
        when above is not null and below is not null then printf('> %g and < %g', above, below)
        when above is not null then printf('> %g', above)
        when below is not null then printf('< %g', below)
    end as expected,
    tolerance,
    value,
    case when measure is not null then coalesce(n_sample, 0) end as n_sample,
    case
        when {{ 'true' if var('study').synthetic else 'false' }} then 'synthetic'
        when measure is null then 'context'
        when value is null then 'not_computable'
        when not place.is_china then 'other_region'
        when is_as_published then 'met'
        else 'not_met'
    end as status,
    case when measure is not null and value is null then reason_if_absent end as reason,
from compared
cross join place
order by claim_number, claim

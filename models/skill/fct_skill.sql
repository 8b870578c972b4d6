with wanted as (
    select
        availability.*,
        metric,
        insitu.reason as insitu_reason,
    from {{ ref('int_availability') }} as availability
    inner join {{ ref('int_availability') }} as insitu
        on availability.gridcell_id = insitu.gridcell_id
        and availability.layer = insitu.layer
        and insitu.product = 'insitu'
    cross join (
        values ('spearman'), ('pearson'), ('bias_m3m3'), ('rmsd_m3m3'), ('ubrmsd_m3m3')
    ) as metric (metric)
    where availability.product <> 'insitu'
)

select
    product,
    gridcell_id,
    layer,
    metric,
    skill.value,
    skill.ci_lower,
    skill.ci_upper,
    skill.n_effective::double as n_effective,
    skill.block_length_days::integer as block_length_days,
    coalesce(skill.n_days, 0)::integer as n_days,
    case
        when skill.n_days > 0 then skill.status
        when insitu_reason <> 'ok' then insitu_reason
        when reason <> 'ok' then reason
        else 'no_common_days'
    end as status,
from wanted
left join {{ ref('int_product_skill') }} as skill using (product, gridcell_id, layer, metric)
order by all

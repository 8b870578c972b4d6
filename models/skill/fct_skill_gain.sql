{% set roles = var('study').roles %}
with availability as (
    select
        gridcell_id,
        layer,
        min(reason) filter (where product = '{{ roles.insitu }}') as insitu_reason,
        min(reason) filter (where product = '{{ roles.baseline }}') as baseline_reason,
        min(reason) filter (where product = '{{ roles.candidate }}') as candidate_reason,
    from {{ ref('int_availability') }}
    group by all
)

select
    gridcell_id,
    layer,
    coalesce(gain.n_days, 0)::integer as n_days,
    gain.r_baseline,
    gain.r_candidate,
    gain.delta_r,
    gain.delta_r_iid_ci_lower,
    gain.delta_r_iid_ci_upper,
    gain.is_significant_iid,
    gain.delta_r_block_ci_lower,
    gain.delta_r_block_ci_upper,
    gain.is_significant_block,
    gain.p_iid,
    gain.q_iid,
    gain.p_block,
    gain.q_block,
    gain.block_length_days::integer as block_length_days,
    gain.is_significant_{{ var('study').rules.headline_interval }} as is_significant,
    gain.n_undefined_iid::integer as n_undefined_iid,
    gain.n_undefined_block::integer as n_undefined_block,
    case
        when gain.n_days > 0 then gain.status
        when insitu_reason <> 'ok' then insitu_reason
        when baseline_reason <> 'ok' then 'baseline_' || baseline_reason
        when candidate_reason <> 'ok' then 'candidate_' || candidate_reason
        else 'no_common_days'
    end as status,
from availability
left join {{ ref('int_skill_gain') }} as gain using (gridcell_id, layer)
order by all

{#- the factors in the published order; the exclusion rule is that of the group tests -#}
select
    row_number() over () as factor_order,
    factor.*,
from (
    values
    (
        'precipitation_skill', 'lsm', '1', 'smaller error', 'precipitation error', 'drop < P20',
        'Spearman correlation of daily totals, candidate forcing against the precipitation benchmark'
    ),
    (
        'coupling_error', 'lsm', '1', 'model coupled more strongly than observed',
        'SSM-RZSM coupling error', 'drop |x| > P80',
        'coupling of the baseline minus coupling in situ (fct_vertical_coupling)'
    ),
    (
        'clay_variability', 'lsm', '1', 'more heterogeneity', 'vertical variability of clay',
        'drop > P80', 'clay fraction of 0-30 cm against 0-100 cm (fct_soil_texture)'
    ),
    (
        'lai_error', 'lsm', 'm2 m-2', 'larger error', 'LAI error', 'drop > P80',
        'standard deviation of the LAI benchmark''s anomalies (fct_leaf_area_index)'
    ),
    (
        'latent_heat_skill', 'lsm', '1', 'smaller error', 'LE error', 'drop < P20',
        'correlation of the candidate''s latent heat with the truth by double instrumental variables'
    ),
    (
        'tb_innovation_sd_k', 'rtm', 'K', 'larger error', 'error in Tb innovation', 'drop > P80',
        'standard deviation of observation minus forecast Tb (fct_tb_innovation)'
    ),
    (
        'microwave_roughness', 'rtm', '1', 'rougher soil', 'microwave soil roughness', 'drop > P80',
        'mean daily roughness parameter h (fct_daily_roughness)'
    ),
    (
        'lai_mean', 'rtm', 'm2 m-2', 'denser vegetation', 'annual mean LAI', 'none',
        'mean of the candidate''s daily leaf area index (fct_leaf_area_index)'
    )
) as factor (
    factor, category, unit, larger_means, published_name, exclusion_rule, source
)
order by factor_order

{#-
    What the published study says (Qiu et al. 2021, doi:10.5194/hess-25-1569-2021), one number or pattern a row, and the
    measure of int_paper_sample, _pattern, _forest or _group that answers it. A claim is met within published +-
    tolerance, or strictly above and below its bounds. Shares and relative gains +-3 points, mean gains +-0.01,
    cross-validation +-0.1; counts +-2 sqrt(n); the first rank exactly, later ones +-1. Where the study's own sections
    disagree, either order counts. Bounds of patterns published in words alone are ours: `quantity` tells how it is read.
-#}
{% set claims = [] %}
{% set names = {'ssm': 'surface', 'rzsm': 'root-zone'} %}
{% set absent = {
    'cells': 'no study cell (dim_station says why)',
    'gain': 'no cell, or for a pattern fewer than 10, with a skill gain (fct_skill_gain says why)',
    'factor': 'fewer than 10 cells with the factor (fct_factor_status says why)',
    'region': 'the study file names no such region, or fewer than 10 cells of it or of the others have a value',
    'coupling': 'no cell with vertical coupling (fct_vertical_coupling says why)',
    'forest': 'no random forest of this target (fct_forest_importance says why)',
    'variant': 'the variant or the base lacks a random forest (fct_robustness says why)',
    'group': 'no groups of cells by this factor (fct_factor_anova and fct_factor_group say why)',
    'land_cover': 'no station with a land-cover class (the study names no land cover, or it lies elsewhere)',
} %}

{% do claims.extend([
    {'claim': 'c01_stations', 'where': 'abstract, 2.2, 3.1', 'quantity': 'stations used',
     'measure': 'stations', 'published': 2474, 'tolerance': 99, 'absent': 'cells'},
    {'claim': 'c01_cells', 'where': 'abstract, 2.2, 3.1', 'quantity': '9 km cells with a station used',
     'measure': 'cells', 'published': 2287, 'tolerance': 96, 'absent': 'cells'},
    {'claim': 'c02_one_station', 'where': '2.2', 'quantity': 'share of cells with one station',
     'measure': 'share_with_stations 1', 'published': 0.9235, 'tolerance': 0.03, 'absent': 'cells'},
    {'claim': 'c02_two_stations', 'where': '2.2', 'quantity': 'share of cells with two stations',
     'measure': 'share_with_stations 2', 'published': 0.0726, 'tolerance': 0.03, 'absent': 'cells'},
    {'claim': 'c02_three_stations', 'where': '2.2', 'quantity': 'cells with three stations',
     'measure': 'cells_with_stations 3', 'published': 7, 'tolerance': 5, 'absent': 'cells'},
    {'claim': 'c02_four_stations', 'where': '2.2', 'quantity': 'cells with four stations',
     'measure': 'cells_with_stations 4', 'published': 1, 'tolerance': 2, 'absent': 'cells'},
    {'claim': 'c02_five_stations', 'where': '2.2', 'quantity': 'cells with five stations',
     'measure': 'cells_with_stations 5', 'published': 1, 'tolerance': 2, 'absent': 'cells'},
]) %}

{% for number, layer, where, share, gain, relative, baseline, candidate, implied in (
    (3, 'ssm', 'abstract, 3.1, 4', 0.77, 0.056, 0.14, 0.40, 0.456, 0.03),
    (5, 'rzsm', 'abstract', 0.74, 0.034, 0.07, 0.49, 0.52, 0.05),
) %}
{% set key = 'c%02d_' % (number + 1) ~ layer %}
{% do claims.extend([
    {'claim': 'c%02d_' % number ~ layer ~ '_share_improved', 'where': where,
     'quantity': 'share of cells with delta_r > 0, significant or not, ' ~ names[layer],
     'measure': 'share_improved ' ~ layer, 'published': share, 'tolerance': 0.03, 'absent': 'gain'},
    {'claim': key ~ '_mean_delta_r', 'where': 'abstract, 3.1', 'quantity': 'mean delta_r over cells, ' ~ names[layer],
     'measure': 'mean_delta_r ' ~ layer, 'published': gain, 'tolerance': 0.01, 'absent': 'gain'},
    {'claim': key ~ '_relative_gain', 'where': 'abstract, 3.1',
     'quantity': 'mean delta_r over mean r_baseline, ' ~ names[layer]
         ~ ' (the study does not say whether it took this or the mean of ratios: fct_skill_summary has both)',
     'measure': 'relative_gain ' ~ layer, 'published': relative, 'tolerance': 0.03, 'absent': 'gain'},
    {'claim': key ~ '_mean_r_baseline', 'where': 'not stated: follows from abstract, 3.1',
     'quantity': 'mean r_baseline over cells, ' ~ names[layer] ~ ', as implied by gain and relative gain',
     'measure': 'mean_r_baseline ' ~ layer, 'published': baseline, 'tolerance': implied, 'absent': 'gain'},
    {'claim': key ~ '_mean_r_candidate', 'where': 'not stated: follows from abstract, 3.1',
     'quantity': 'mean r_candidate over cells, ' ~ names[layer] ~ ', as implied by gain and relative gain',
     'measure': 'mean_r_candidate ' ~ layer, 'published': candidate, 'tolerance': implied, 'absent': 'gain'},
]) %}
{% for target in ('r_baseline', 'r_candidate') %}
{% do claims.append(
    {'claim': 'c07_' ~ layer ~ '_' ~ target ~ '_southeast', 'where': '3.1, Fig. 3',
     'quantity': 'Spearman correlation over cells of ' ~ target ~ ', ' ~ names[layer]
         ~ ', with u = clip(0.6 (lon - 75) / 60 + 0.6 (50 - lat) / 32, 0, 1), which rises from north-west to south-east',
     'measure': 'gradient southeast ' ~ target ~ ' ' ~ layer, 'above': 0, 'absent': 'gain'},
) %}
{% endfor %}
{% endfor %}

{% for name, variable, said in (
    ('gain', 'delta_r ssm', 'mean surface delta_r'),
    ('significance', 'improved_significant ssm', 'share of cells with a significant surface gain (iid bootstrap, as published)'),
    ('tb_innovation', 'tb_innovation_sd_k', 'mean tb_innovation_sd_k'),
) %}
{% do claims.append(
    {'claim': 'c08_north_china_plain_' ~ name, 'where': '3.2',
     'quantity': said ~ ' in the region north_china_plain minus the largest of any other region of the study',
     'unit': 'K' if name == 'tb_innovation' else '1',
     'measure': 'lead north_china_plain ' ~ variable, 'above': 0, 'absent': 'region'},
) %}
{% endfor %}
{% do claims.extend([
    {'claim': 'c08_gain_where_tb_innovation_is_large', 'where': '3.2',
     'quantity': 'mean surface delta_r of the fifth of cells with the largest tb_innovation_sd_k minus the largest mean'
         ~ ' of the other fifths',
     'measure': 'top_fifth_lead', 'above': 0, 'absent': 'factor'},
    {'claim': 'c09_precipitation_skill_southeast', 'where': '3.2, Fig. 4a',
     'quantity': 'Spearman correlation over cells of precipitation_skill with u of c07: larger error in the north-west',
     'measure': 'gradient southeast precipitation_skill', 'above': 0, 'absent': 'factor'},
    {'claim': 'c10_coupling_error_negative', 'where': '3.2', 'quantity': 'share of cells with coupling_error < 0',
     'measure': 'coupling_error_negative', 'above': 0.5, 'absent': 'factor'},
    {'claim': 'c10_coupling_error_positive_east', 'where': '3.2',
     'quantity': 'share of cells with coupling_error > 0 among the eastern half (longitude above the median of cells)',
     'measure': 'coupling_error_positive_east', 'below': 0.5, 'absent': 'factor'},
    {'claim': 'c10_negative_coupling_insitu', 'where': '2.4', 'quantity': 'share of cells with negative coupling in situ',
     'measure': 'negative_coupling insitu', 'published': 0, 'tolerance': 0.03, 'absent': 'coupling'},
    {'claim': 'c10_negative_coupling_baseline', 'where': '2.4',
     'quantity': 'share of cells with negative coupling of the baseline',
     'measure': 'negative_coupling baseline', 'published': 0, 'tolerance': 0.03, 'absent': 'coupling'},
    {'claim': 'c11_clay_little_structure', 'where': '3.2',
     'quantity': 'larger absolute Spearman correlation over cells of clay_variability with latitude or longitude'
         ~ ' (below 0.3: under a tenth of the variance of ranks)',
     'measure': 'largest_gradient clay_variability', 'below': 0.3, 'absent': 'factor'},
    {'claim': 'c12_lai_error_south', 'where': '3.2', 'quantity': 'Spearman correlation over cells of lai_error with latitude',
     'measure': 'gradient latitude lai_error', 'below': 0, 'absent': 'factor'},
    {'claim': 'c12_lai_mean_south_west', 'where': '3.2', 'unit': 'm2 m-2',
     'quantity': 'mean lai_mean in the region south_west minus that of cells in neither south_west nor south_east',
     'measure': 'above_rest lai_mean south_west', 'above': 0, 'absent': 'region'},
    {'claim': 'c12_lai_mean_south_east', 'where': '3.2', 'unit': 'm2 m-2',
     'quantity': 'mean lai_mean in the region south_east minus that of cells in neither south_west nor south_east',
     'measure': 'above_rest lai_mean south_east', 'above': 0, 'absent': 'region'},
    {'claim': 'c13_latent_heat_error_low', 'where': '3.2',
     'quantity': 'median latent_heat_skill over cells (above 0.7: half of the variance shared with the truth)',
     'measure': 'median latent_heat_skill', 'above': 0.7, 'absent': 'factor'},
    {'claim': 'c14_roughness_scattered', 'where': '3.2',
     'quantity': 'larger absolute Spearman correlation over cells of microwave_roughness with latitude or longitude'
         ~ ' (below 0.3: under a tenth of the variance of ranks)',
     'measure': 'largest_gradient microwave_roughness', 'below': 0.3, 'absent': 'factor'},
    {'claim': 'c15_ssm_cross_validation', 'where': '3.3.1, Fig. 5a',
     'quantity': 'mean over runs of the correlation of predicted and actual delta_r in random folds, surface',
     'measure': 'cv_r ssm', 'published': 0.72, 'tolerance': 0.1, 'absent': 'forest'},
    {'claim': 'c15_rzsm_cross_validation', 'where': '3.3.1, Fig. 5a',
     'quantity': 'mean over runs of the correlation of predicted and actual delta_r in random folds, root-zone',
     'measure': 'cv_r rzsm', 'published': 0.46, 'tolerance': 0.1, 'absent': 'forest'},
    {'claim': 'c16_ssm_tb_importance', 'where': 'abstract, 3.3.1', 'unit': '%',
     'quantity': 'importance of tb_innovation_sd_k for delta_r, surface',
     'measure': 'importance delta_r ssm tb_innovation_sd_k', 'above': 30, 'absent': 'forest'},
    {'claim': 'c17_rzsm_tb_importance', 'where': 'abstract, 3.3.1, 4', 'unit': '%',
     'quantity': 'importance of tb_innovation_sd_k for delta_r, root-zone',
     'measure': 'importance delta_r rzsm tb_innovation_sd_k', 'published': 15, 'tolerance': 3, 'absent': 'forest'},
    {'claim': 'c17_tb_importance_drop', 'where': 'abstract, 3.3.1, 4', 'unit': '%',
     'quantity': 'importance of tb_innovation_sd_k for delta_r, surface minus root-zone',
     'measure': 'importance_drop tb_innovation_sd_k', 'above': 0, 'absent': 'forest'},
    {'claim': 'c17_rzsm_roughness_above_tb', 'where': 'abstract, 3.3.1, 4', 'unit': '%',
     'quantity': 'importance for delta_r of microwave_roughness minus that of tb_innovation_sd_k, root-zone',
     'measure': 'roughness_over_tb', 'above': 0, 'absent': 'forest'},
]) %}

{#- ranks published for each model: factor, rank or the two ranks on which the study's sections differ -#}
{% for number, target, layer, where, ranks in (
    (16, 'delta_r', 'ssm', 'abstract, 3.3.1; the conclusions swap ranks 2 and 3', (
        ('tb_innovation_sd_k', 1), ('precipitation_skill', '2-3'), ('microwave_roughness', '2-3'))),
    (17, 'delta_r', 'rzsm', 'abstract, 3.3.1, 4', (('tb_innovation_sd_k', 3),)),
    (18, 'r_baseline', 'ssm', '3.3.1, Fig. 5c', (
        ('precipitation_skill', 1), ('coupling_error', 2), ('tb_innovation_sd_k', 3), ('lai_mean', 4))),
    (19, 'r_baseline', 'rzsm', '3.3.1', (
        ('precipitation_skill', 1), ('coupling_error', 2), ('microwave_roughness', 3), ('lai_mean', 4))),
    (20, 'r_candidate', 'ssm', '3.3.1, 4; 3.3.1 also ranks Tb innovation fourth', (
        ('coupling_error', 1), ('precipitation_skill', 2), ('tb_innovation_sd_k', 3), ('microwave_roughness', 4))),
    (21, 'r_candidate', 'rzsm', '4; ranks 3 and 4 comparable', (
        ('coupling_error', 1), ('precipitation_skill', 2), ('tb_innovation_sd_k', 3), ('latent_heat_skill', 4))),
) %}
{% set key = 'c%02d_' % number ~ layer ~ '_' %}
{% do claims.append(
    {'claim': key ~ 'top_three', 'where': where,
     'quantity': 'how many of the published three most important factors for ' ~ target ~ ', ' ~ names[layer]
         ~ ', are among the three here',
     'measure': 'top_three ' ~ target ~ ' ' ~ layer, 'published': 3, 'tolerance': 0, 'absent': 'forest'},
) %}
{% for factor, rank in ranks %}
{% set row = {'claim': key ~ factor ~ '_rank', 'where': where,
    'quantity': 'rank of ' ~ factor ~ ' by importance for ' ~ target ~ ', ' ~ names[layer],
    'measure': 'rank ' ~ target ~ ' ' ~ layer ~ ' ' ~ factor, 'absent': 'forest'} %}
{% if rank == '2-3' %}
{% do row.update({'above': 1, 'below': 4}) %}
{% else %}
{% do row.update({'published': rank, 'tolerance': 0 if rank == 1 or number == 17 else 1}) %}
{% endif %}
{% do claims.append(row) %}
{% endfor %}
{% endfor %}

{% for layer in ('ssm', 'rzsm') %}
{% set said = names[layer] %}
{% do claims.extend([
    {'claim': 'c22_' ~ layer ~ '_precipitation_not_first', 'where': 'abstract, 3.3.1',
     'quantity': 'rank of precipitation_skill by importance for r_candidate, ' ~ said,
     'measure': 'rank r_candidate ' ~ layer ~ ' precipitation_skill', 'above': 1, 'absent': 'forest'},
    {'claim': 'c29_' ~ layer ~ '_precipitation_first', 'where': '3.3.1',
     'quantity': 'rank of precipitation_skill by importance for r_candidate, ' ~ said ~ ', from representative stations'
         ~ ' (the layer is not stated)',
     'measure': 'rank representative_stations r_candidate ' ~ layer ~ ' precipitation_skill',
     'published': 1, 'tolerance': 0, 'absent': 'variant'},
    {'claim': 'c30_' ~ layer ~ '_precipitation_alternative_cross_validation', 'where': '2.2, 2.3, 3.3.1',
     'quantity': 'mean cross-validated correlation for delta_r, ' ~ said
         ~ ', with the alternative precipitation minus that of the base',
     'measure': 'cv_r_change precipitation_alternative ' ~ layer, 'published': 0, 'tolerance': 0.1, 'absent': 'variant'},
    {'claim': 'c31_' ~ layer ~ '_lai_importance', 'where': '4', 'unit': '%',
     'quantity': 'importance of lai_mean for delta_r, ' ~ said ~ ' (below an equal share among eight factors)',
     'measure': 'importance delta_r ' ~ layer ~ ' lai_mean', 'below': 12.5, 'absent': 'forest'},
]) %}
{#- trends: number, figure, target, factor, sign -#}
{% for number, where, target, factor, rises in (
    (23, '3.3.2, Fig. 6', 'delta_r', 'tb_innovation_sd_k', true),
    (24, '3.3.2, Fig. 7', 'r_baseline', 'precipitation_skill', true),
    (24, '3.3.2, Fig. 7', 'delta_r', 'precipitation_skill', false),
    (25, '3.3.2, Fig. 8', 'delta_r', 'microwave_roughness', true),
    (25, '3.3.2', 'r_baseline', 'microwave_roughness', false),
    (26, '3.3.2, Fig. 9', 'r_baseline', 'coupling_error', true),
    (26, '3.3.2, Fig. 9', 'delta_r', 'coupling_error', false),
) %}
{% do claims.append(
    {'claim': 'c%02d_' % number ~ layer ~ '_' ~ target ~ '_by_' ~ factor, 'where': where,
     'quantity': 'Spearman correlation of ' ~ target ~ ', ' ~ said ~ ', with ' ~ factor
         ~ ' over the cells that the exclusion rule keeps',
     'measure': 'trend ' ~ target ~ ' ' ~ layer ~ ' ' ~ factor, 'above': 0 if rises else none,
     'below': none if rises else 0, 'absent': 'group'},
) %}
{% endfor %}
{% for factor, exceptions in (
    ('tb_innovation_sd_k', {'ssm': 1}), ('precipitation_skill', {}), ('microwave_roughness', {'ssm': 1}),
) %}
{% do claims.extend([
    {'claim': 'c27_' ~ layer ~ '_anova_' ~ factor, 'where': '3.3.2',
     'quantity': 'p value of the one-way analysis of variance of delta_r, ' ~ said ~ ', over the groups by ' ~ factor
         ~ ' (cells taken as independent, as published; fct_factor_anova has the spatial one)',
     'measure': 'anova_p ' ~ layer ~ ' ' ~ factor, 'below': 0.01, 'absent': 'group'},
    {'claim': 'c28_' ~ layer ~ '_groups_not_above_zero_' ~ factor, 'where': '3.3.2',
     'quantity': 'groups by ' ~ factor ~ ' whose mean delta_r, ' ~ said ~ ', is not above zero at p < 0.01'
         ~ ' (cells taken as independent, as published)',
     'measure': 'not_above_zero ' ~ layer ~ ' ' ~ factor, 'published': exceptions.get(layer, 0), 'tolerance': 0,
     'absent': 'group'},
]) %}
{% endfor %}
{% endfor %}

{% do claims.extend([
    {'claim': 'c23_tb_innovation_larger_for_ssm', 'where': '3.3.2, Fig. 6',
     'quantity': 'rise of mean delta_r from the first to the last group by tb_innovation_sd_k, surface minus root-zone',
     'measure': 'contrast_difference tb_innovation_sd_k', 'above': 0, 'absent': 'group'},
    {'claim': 'c24_precipitation_weaker_for_rzsm', 'where': '3.3.2, Fig. 7',
     'quantity': 'rise of mean delta_r from the first to the last group by precipitation_skill (published as a fall),'
         ~ ' surface minus root-zone',
     'measure': 'contrast_difference precipitation_skill', 'below': 0, 'absent': 'group'},
    {'claim': 'c26_gain_larger_for_ssm', 'where': '3.3.2, Fig. 9',
     'quantity': 'mean delta_r in the group of most negative coupling_error, surface minus root-zone',
     'measure': 'first_group_difference coupling_error', 'above': 0, 'absent': 'group'},
    {'claim': 'c29_representative_share', 'where': '3.3.1',
     'quantity': 'share of stations used, with a land-cover class, whose representativeness_frac is above 0.5',
     'measure': 'representative_share', 'published': 0.52, 'tolerance': 0.03, 'absent': 'land_cover'},
    {'claim': 'c29_representative_top_three', 'where': '3.3.1',
     'quantity': 'smallest number, over the six models, of the three most important factors kept with representative'
         ~ ' stations alone',
     'measure': 'top_three_kept representative_stations', 'published': 3, 'tolerance': 0, 'absent': 'variant'},
    {'claim': 'c30_pearson_top_three', 'where': '2.2, 2.3, 3.3.1',
     'quantity': 'smallest number, over the six models, of the three most important factors kept with Pearson correlation'
         ~ ' (our reading of qualitatively unchanged)',
     'measure': 'top_three_kept pearson', 'published': 3, 'tolerance': 0, 'absent': 'variant'},
    {'claim': 'c30_precipitation_alternative_rank', 'where': '2.2, 2.3, 3.3.1',
     'quantity': 'largest change of rank of precipitation_skill for r_baseline and r_candidate, both layers,'
         ~ ' with the alternative precipitation',
     'measure': 'rank_change precipitation_alternative', 'published': 0, 'tolerance': 0, 'absent': 'variant'},
    {'claim': 'c30_soil_alternative_rank', 'where': '2.2, 2.3, 3.3.1',
     'quantity': 'largest change of rank of clay_variability over the six models with the alternative soil data',
     'measure': 'rank_change soil_alternative', 'published': 0, 'tolerance': 0, 'absent': 'variant'},
    {'claim': 'c32_cgdpa_gauges', 'where': '2.3.1', 'quantity': 'gauges behind CGDPA in China, from the literature',
     'published': 2400},
    {'claim': 'c32_cpcu_gauges', 'where': '2.3.1', 'quantity': 'gauges behind CPCU in China, from the literature',
     'below': 400},
    {'claim': 'c32_cgdpa_rmse', 'where': '2.3.1', 'unit': 'mm d-1', 'published': 13.51,
     'quantity': 'root mean square error of CGDPA for 25 to 50 mm d-1, from the literature'},
    {'claim': 'c32_cpcu_rmse', 'where': '2.3.1', 'unit': 'mm d-1', 'published': 17.02,
     'quantity': 'root mean square error of CPCU for 25 to 50 mm d-1, from the literature'},
]) %}
{% for row in claims %}
select
    '{{ row.claim }}' as claim,
    {{ row.claim[1:3] | int }} as claim_number,
    '{{ row.where }}' as where_published,
    '{{ row.quantity }}' as quantity,
    '{{ row.unit | default('1') }}' as unit,
    {{ "'%s'" % row.measure if row.measure else 'null' }}::varchar as measure,
    {{ row.published | default('null') }}::double as published,
    {{ row.tolerance | default('null') }}::double as tolerance,
    {{ 'null' if row.above is none else row.above | default('null') }}::double as above,
    {{ 'null' if row.below is none else row.below | default('null') }}::double as below,
    {{ "'%s'" % absent[row.absent] if row.absent else 'null' }}::varchar as reason_if_absent,
{% if not loop.last %}union all{% endif %}
{%- endfor %}

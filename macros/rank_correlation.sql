{#-
    Spearman's correlation of x and y within each group of keys: Pearson's on mid-ranks, over the rows where both are
    known. Doubled ranks centred on zero are whole numbers, so that every sum is exact and the result does not depend on
    the order of rows; null where x or y is constant.
-#}
{% macro rank_correlation(relation, keys, x, y) -%}
    {%- set within = keys | join(', ') %}
    select
        {{ within }},
        count(*) as n,
        sqrt(sum(rank_x * rank_x)::double * sum(rank_y * rank_y)::double) as norm,
        -- greatest and least would pass over a null
        case when norm > 0 then greatest(-1, least(1, sum(rank_x * rank_y)::double / norm)) end as rho,
    from (
        select
            {{ within }},
            {%- for ranked, value in (('rank_x', x), ('rank_y', y)) %}
            2 * rank() over (partition by {{ within }} order by {{ value }})
            + count(*) over (partition by {{ within }}, {{ value }})
            - count(*) over (partition by {{ within }}) - 2 as {{ ranked }},
            {%- endfor %}
        from {{ relation }}
        where {{ x }} is not null and {{ y }} is not null
    ) as ranked
    group by all
{%- endmacro %}

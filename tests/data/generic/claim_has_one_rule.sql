{#- What is measured is judged by one rule: published with a tolerance, or bounds; and says what to do without it. -#}
{% test claim_has_one_rule(model) %}
select *
from {{ model }}
where
    measure is not null
    and (
        (published is null) = (above is null and below is null)
        or (published is null) <> (tolerance is null)
        or reason_if_absent is null
    )
{% endtest %}

{#- Every claim of the list has its row; a row without a value says why, a row with a verdict has a value. -#}
{% test every_claim_answered(model) %}
select
    claim.claim,
    answer.value,
    answer.status,
    answer.reason,
from {{ ref('int_paper_claim') }} as claim
full join {{ model }} as answer using (claim)
where
    claim.claim is null
    or answer.claim is null
    or (claim.measure is not null and (answer.value is null) <> (answer.reason is not null))
    or (claim.measure is null and answer.value is not null)
    or (answer.status in ('met', 'not_met', 'other_region') and answer.value is null)
    or (answer.status in ('not_computable', 'context') and answer.value is not null)
{% endtest %}

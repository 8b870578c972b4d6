{% test in_range(model, column_name, lower, upper) %}
select *
from {{ model }}
where not coalesce({{ column_name }} between {{ lower }} and {{ upper }}, true)
{% endtest %}

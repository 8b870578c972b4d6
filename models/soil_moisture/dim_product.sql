{% set study = var('study') %}
{% set candidate = (study.products | selectattr('role', 'eq', 'candidate') | list)[0] %}
{% set rows = [('insitu', 'soil_moisture', 'insitu', study.insitu.title, '')] %}
{% for product in study.products %}
{%- do rows.append((product.key, 'soil_moisture', product.role, product.title, product.version)) %}
{%- endfor %}
{%- for quantity, references in study.references.items() if references %}
{%- if quantity != 'soil_texture' %}
{%- do rows.append((candidate.key, quantity, 'candidate', candidate.title, candidate.version)) %}
{%- endif %}
{%- for reference in references %}
{%- do rows.append((reference.key, quantity, reference.role, reference.title, reference.version)) %}
{%- endfor %}
{%- endfor -%}
select * from (
    values
    {%- for row in rows %}
    (
        {%- for text in row %}
        '{{ text | replace("'", "''") }}'{% if not loop.last %},{% endif %}
        {%- endfor %}
    ){% if not loop.last %},{% endif %}
    {%- endfor %}
) as product (product, quantity, role, source, version)
order by product, quantity

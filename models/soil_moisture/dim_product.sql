select * from (
    values
    (
        'insitu', 'soil_moisture', 'insitu',
        '{{ var("study").insitu.title | replace("'", "''") }}', ''
    )
    {%- for product in var('study').products %},
    (
        '{{ product.key }}', 'soil_moisture', '{{ product.role }}',
        '{{ product.title | replace("'", "''") }}',
        '{{ product.version | replace("'", "''") }}'
    )
    {%- endfor %}
) as product (product, quantity, role, source, version)
order by product, quantity

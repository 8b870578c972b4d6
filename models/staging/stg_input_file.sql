{% for source in var('study').sources -%}
select
    '{{ source }}' as source,
    source_file,
    partition,
    sha256,
    reader,
    status,
    reason,
    message,
    size_bytes,
    n_rows,
    counts,
    first_time,
    last_time,
    make_timestamp(modified_ns // 1000) as modified_at,
from {{ lake_manifest(source) }}
{% if not loop.last %}union all
{% endif -%}
{%- endfor %}

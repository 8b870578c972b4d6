select
    source,
    source_file,
    sha256,
    size_bytes,
    modified_at,
    n_rows,
    first_time,
    last_time,
    reader,
    status,
    case when status = 'ok' then 'ok' else reason end as reason,
    message,
from {{ ref('stg_input_file') }}
order by source, source_file

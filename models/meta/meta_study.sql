select
    key,
    value,
    "default",
    reason,
from read_parquet('{{ var("lake") }}/study_setting.parquet')
order by key

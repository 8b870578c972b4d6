-- Macros of the published warehouse. Tables are named in full, so that they are
-- found from an attached file too.

create or replace macro warehouse.main.gridcell_at(lat, lon) as (
    -- EASE-Grid 2.0, 9 km, as in ingest/grid.py: a point on an edge belongs to the cell east or south of it
    select
        case
            when
                grid_row between 0 and 1623
                then 'M09-r' || grid_row::integer || '-c' || greatest(0, least(3855, grid_col))::integer
        end
    from (
        select
            floor((9008.055210146 * 1624 / 2 - 6378137 * q / (2 * k0)) / 9008.055210146) as grid_row,
            floor((6378137 * k0 * lon_rad + 9008.055210146 * 3856 / 2) / 9008.055210146) as grid_col,
        from (
            select
                lon_rad,
                cos(pi() / 6) / sqrt(1 - e * e * pow(sin(pi() / 6), 2)) as k0,
                (1 - e * e)
                * (sin_phi / (1 - pow(e * sin_phi, 2)) - ln((1 - e * sin_phi) / (1 + e * sin_phi)) / (2 * e))
                    as q,
            from (
                select
                    0.081819190843::double as e,
                    sin(radians(lat::double)) as sin_phi,
                    radians(lon::double + 180 - 360 * floor((lon::double + 180) / 360) - 180) as lon_rad,
                where lat::double between -90 and 90 and lon::double between -360 and 360
            )
        )
    )
);

comment on macro warehouse.main.gridcell_at is
'Key of the 9 km EASE-Grid 2.0 cell that holds a point (degrees), whether it is a study cell or not; null outside the grid.';

create or replace macro warehouse.main.skill_at(lat, lon) as table
with point as (
    select
        case
            when lat::double between -90 and 90 then lat::double
            when lat is not null then error('skill_at(lat, lon): latitude ' || lat || ' lies outside -90..90')
        end as latitude,
        case
            when lon::double between -360 and 360 then lon::double
            when lon is not null then error('skill_at(lat, lon): longitude ' || lon || ' lies outside -360..360')
        end as longitude,
        warehouse.main.gridcell_at(lat, lon) as gridcell_id,
),

place as (
    select
        cell.gridcell_id,
        cell.latitude,
        cell.longitude,
        cell.gridcell_id is not distinct from point.gridcell_id as is_inside,
        2 * 6371.0088 * asin(least(1, sqrt(
            pow(sin(radians(cell.latitude - point.latitude) / 2), 2)
            + cos(radians(point.latitude)) * cos(radians(cell.latitude))
            * pow(sin(radians(cell.longitude - point.longitude) / 2), 2)
        ))) as distance_km,
    from warehouse.main.dim_gridcell as cell
    cross join point
    where point.latitude is not null and point.longitude is not null
    order by is_inside desc, distance_km, cell.gridcell_id
    limit 1
)

select
    place.gridcell_id,
    place.is_inside,
    place.distance_km,
    place.latitude,
    place.longitude,
    gain.layer,
    gain.n_days,
    gain.r_baseline,
    gain.r_candidate,
    gain.delta_r,
    gain.delta_r_block_ci_lower,
    gain.delta_r_block_ci_upper,
    gain.is_significant,
    gain.status,
from place
inner join warehouse.main.fct_skill_gain as gain using (gridcell_id)
order by gain.layer desc;

comment on macro table warehouse.main.skill_at is
'Skill and gain of the study cell that holds a point (degrees), else of the nearest one: is_inside says which, distance_km how far its centre is. One row per layer.';

create or replace macro warehouse.main.series(gridcell) as table
select
    daily.obs_date,
    daily.product,
    product.role,
    daily.ssm_m3m3,
    daily.rzsm_m3m3,
    anomaly.ssm_anomaly_m3m3,
    anomaly.rzsm_anomaly_m3m3,
    daily.n_obs_ssm,
    daily.n_obs_rzsm,
from warehouse.main.fct_daily_soil_moisture as daily
inner join warehouse.main.fct_daily_anomaly as anomaly using (product, gridcell_id, obs_date)
inner join warehouse.main.dim_product as product
    on daily.product = product.product and product.quantity = 'soil_moisture'
where
    daily.gridcell_id = coalesce(
        (
            select cell.gridcell_id
            from warehouse.main.dim_gridcell as cell
            where lower(cell.gridcell_id) = lower(trim(gridcell::varchar))
        ),
        error('series(gridcell): no study cell ' || coalesce(gridcell::varchar, 'null') || '; see dim_gridcell')
    )
order by daily.obs_date, daily.product;

comment on macro table warehouse.main.series is
'Daily soil moisture and its anomaly of a study cell. One row per day and product, in situ included.';

create or replace macro warehouse.main.factors_of(gridcell) as table
select
    factor.factor,
    factor.category,
    cell.value,
    factor.unit,
    cell.share_below,
    factor.larger_means,
    status.status,
    status.n_obs,
from warehouse.main.fct_factor_status as status
inner join warehouse.main.dim_factor as factor using (factor)
left join (
    select
        *,
        percent_rank() over (partition by factor order by value) as share_below,
    from (
        unpivot warehouse.main.fct_control_factor
        on columns(* exclude (gridcell_id))
        into name factor value value
    )
) as cell using (gridcell_id, factor)
where
    status.gridcell_id = coalesce(
        (
            select known.gridcell_id
            from warehouse.main.dim_gridcell as known
            where lower(known.gridcell_id) = lower(trim(gridcell::varchar))
        ),
        error('factors_of(gridcell): no study cell ' || coalesce(gridcell::varchar, 'null') || '; see dim_gridcell')
    )
order by factor.factor_order;

comment on macro table warehouse.main.factors_of is
'The eight control factors of a study cell; share_below is the share of the other cells with a smaller value.';

create or replace macro warehouse.main.why(gridcell, layer) as table
with asked as (
    select
        coalesce(
            (
                select cell.gridcell_id
                from warehouse.main.dim_gridcell as cell
                where lower(cell.gridcell_id) = lower(trim(gridcell::varchar))
            ),
            error('why(gridcell, layer): no study cell ' || coalesce(gridcell::varchar, 'null') || '; see dim_gridcell')
        ) as gridcell_id,
        case
            when lower(trim(layer::varchar)) in ('ssm', 'rzsm') then lower(trim(layer::varchar))
            else error('why(gridcell, layer): layer is ssm or rzsm, found ' || coalesce(layer::varchar, 'null'))
        end as layer,
),

product as (
    select product.product
    from warehouse.main.dim_product as product
    where product.quantity = 'soil_moisture'
),

station as (
    select
        station.station_id,
        station.network,
        station.latitude,
        station.longitude,
        station.status,
    from warehouse.main.dim_station as station
    inner join asked using (gridcell_id)
),

-- an archive has a folder per station; elsewhere a file may hold any station
station_file as (
    select file.source_file
    from warehouse.main.meta_input_file as file
    inner join station
        on contains('/' || file.source_file, '/' || station.station_id || '/')
    where file.source = 'insitu'
),

file as (
    select file.*
    from warehouse.main.meta_input_file as file
    inner join product
        on file.source = product.product
    where
        file.status = 'ok'
        and (
            file.source <> 'insitu'
            or file.source_file in (from station_file)
            or not exists (from station_file)
        )
),

number as (
    unpivot (
        select
            gain.n_days::varchar as n_days,
            gain.r_baseline::varchar as r_baseline,
            gain.r_candidate::varchar as r_candidate,
            gain.delta_r::varchar as delta_r,
            gain.delta_r_block_ci_lower::varchar as delta_r_block_ci_lower,
            gain.delta_r_block_ci_upper::varchar as delta_r_block_ci_upper,
            gain.is_significant::varchar as is_significant,
            gain.status,
        from warehouse.main.fct_skill_gain as gain
        inner join asked using (gridcell_id, layer)
    )
    on columns(*)
    into name item value value
),

setting as (
    select
        case
            when key in (
                'rules.min_pairs', 'rules.members', 'rules.block_days', 'rules.level',
                'rules.headline_interval'
            ) then 2
            when key in (
                'grid', 'rules.clim_window', 'rules.clim_min_samples', 'rules.cross_mask',
                'rules.min_hours', 'rules.sm_max', 'rules.qc_plateau', 'rules.cell_mean'
            ) then 4
            when key like 'period.%' or key like 'region.%' or key like 'insitu.%' or key like 'products.%' then 4
        end as step_order,
        key,
        value,
    from warehouse.main.meta_study
    where value is not null and value <> ''
),

build as (
    unpivot (
        select
            build.build_id,
            build.study,
            build.study_hash,
            build.input_hash,
            build.code_hash,
            build.git_commit,
            build.python_version,
            build.package_versions,
            build.finished_at::varchar as finished_at,
        from warehouse.main.meta_build as build
    )
    on columns(*)
    into name item value value
),

link as (
    select 1 as step_order, 'number' as step, item, value from number
    union all
    select step_order, 'setting of the statistic', key, value from setting where step_order = 2
    union all
    select
        3,
        'series',
        coverage.product,
        coverage.n_days_anomaly || ' anomalies from ' || coverage.n_days_valid || ' valid of '
        || coverage.n_days_period || ' days, ' || coalesce(coverage.first_date::varchar, 'none') || ' to '
        || coalesce(coverage.last_date::varchar, 'none'),
    from warehouse.main.fct_coverage as coverage
    inner join asked using (gridcell_id, layer)
    union all
    select step_order, 'setting of the series', key, value from setting where step_order = 4
    union all
    select
        5,
        'station',
        station_id,
        coalesce(network, '') || ' at ' || latitude || ', ' || longitude || ': ' || status,
    from station
    union all
    select
        6,
        'source',
        source,
        'files: ' || count(*) || ', rows: ' || sum(n_rows) || ', ' || coalesce(min(first_time)::varchar, '?') || ' to '
        || coalesce(max(last_time)::varchar, '?'),
    from file
    group by source
    union all
    select 7, 'seed', 'seed', seed::varchar from warehouse.main.meta_build
    union all
    select 8, 'build', item, value from build
    union all
    select
        9,
        'file',
        source || '/' || source_file,
        coalesce('sha256 ' || sha256, size_bytes || ' bytes of ' || modified_at || ', not hashed'),
    from file
)

select
    link.step_order,
    link.step,
    link.item,
    link.value,
from asked
cross join link
order by link.step_order, link.item;

comment on macro table warehouse.main.why is
'The chain behind the gain of a study cell and layer: number, settings, series, stations, sources, seed, build, and every file with its hash.';

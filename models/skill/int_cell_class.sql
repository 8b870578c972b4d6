{#-
    Land cover and climate of each cell in words: the most frequent IGBP class, and the zone by annual precipitation
    of the candidate run with the limits usual in China (200, 400, 800 mm).
-#}
with rain as (
    select
        gridcell_id,
        avg(precipitation_mmd::double order by obs_date) * 365.25 as precipitation_mm_yr,
    from {{ ref('int_candidate_day') }}
    group by all
)

select
    cell.gridcell_id,
    case land.igbp_class
        when 1 then 'evergreen needleleaf forest'
        when 2 then 'evergreen broadleaf forest'
        when 3 then 'deciduous needleleaf forest'
        when 4 then 'deciduous broadleaf forest'
        when 5 then 'mixed forest'
        when 6 then 'closed shrubland'
        when 7 then 'open shrubland'
        when 8 then 'woody savanna'
        when 9 then 'savanna'
        when 10 then 'grassland'
        when 11 then 'wetland'
        when 12 then 'cropland'
        when 13 then 'urban'
        when 14 then 'cropland mosaic'
        when 15 then 'snow and ice'
        when 16 then 'barren'
        when 17 then 'water'
    end as land_cover,
    case
        when rain.precipitation_mm_yr < 200 then 'arid'
        when rain.precipitation_mm_yr < 400 then 'semi-arid'
        when rain.precipitation_mm_yr < 800 then 'semi-humid'
        when rain.precipitation_mm_yr >= 800 then 'humid'
    end as climate,
from {{ ref('int_gridcell') }} as cell
left join {{ ref('dim_gridcell') }} as land using (gridcell_id)
left join rain using (gridcell_id)

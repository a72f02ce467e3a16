"""From a venue to a store, venue-neutral: paging, normalising, health checks. No room is furnished yet."""

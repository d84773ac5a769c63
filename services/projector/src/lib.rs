//! The projector: keeps the materialized state of one configuration in sled.

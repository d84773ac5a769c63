//! The provisioner: makes the tenant hold what the projection says, through Microsoft Graph.

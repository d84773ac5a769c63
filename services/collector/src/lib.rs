//! The collector: reads the changes of one forest over LDAP into the log.

//! What keeps a configuration from writing, and the gate.

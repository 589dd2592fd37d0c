//! Test support of Stacksonde.

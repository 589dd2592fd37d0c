//! Stacksonde plugin `file-export`.

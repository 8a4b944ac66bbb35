//! What is said before and after many devices are changed.

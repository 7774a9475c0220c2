//! Floats between the two decimal worlds: a float4 in its shortest form, and a number as JavaScript
//! writes it.

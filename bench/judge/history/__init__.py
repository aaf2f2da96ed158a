"""Every finished run of a results folder as one dataset: series over nights, and what they say of the last one."""

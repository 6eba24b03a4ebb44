"""What a caller may ask for, tenant first. Every query starts with `for_tenant`; refusals are `runs.exceptions`."""

"""``fedsec node check``: whether a machine is ready to join a federation, before it does."""

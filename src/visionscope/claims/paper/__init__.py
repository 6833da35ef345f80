"""The claims of Park & Kim 2022, one file each; `visionscope.claims.registry` finds them."""

"""ReferItGame: photos, and expressions that each refer to one thing in them."""

"""ReferItGame: photos, and expressions that each name one thing in them."""

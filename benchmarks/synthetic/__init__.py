"""Test worlds: what only makes data whose truth is known."""

"""The steps of `cncp up` on many machines."""

"""Small faults planted one by one in a module, to see whether its tests notice them."""

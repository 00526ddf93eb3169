"""How good and how real, by measures that training does not optimise."""

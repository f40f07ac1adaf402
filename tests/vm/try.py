import sys
from tests.vm import machine
sys.exit(machine.run(sys.argv[1:], seconds=100))

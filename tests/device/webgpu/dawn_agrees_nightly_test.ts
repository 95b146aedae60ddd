/** Not in the suite `slow`, because an emulated GPU takes minutes to compile these shaders after Dawn has translated them. */

import { testAgreement } from "../../support/dawn_agreement.ts";

testAgreement("software");
testAgreement("discrete");
